"""Runs: thin wrappers of system calls, netlink and /proc that the standard library lacks."""
