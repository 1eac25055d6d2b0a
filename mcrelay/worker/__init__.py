"""Runs: the processes that forward packets, without any privilege."""
