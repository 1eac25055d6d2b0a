"""Calls of the kernel that Python has no name for."""
