"""Runs: thin wrappers of system calls, netlink and /proc that Python has no name for."""
