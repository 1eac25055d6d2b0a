"""Runs: the communication of the processes, with a channel for descriptors, shared memory, a heartbeat."""
