"""The process that forwards packets, without any privilege."""
