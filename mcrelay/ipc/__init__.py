"""Runs: how processes are tied together: channel with descriptors, shared memory, heartbeat."""
