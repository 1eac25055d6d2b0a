"""Runs: the privileged process, which decides what runs, and starts and watches the other processes."""
