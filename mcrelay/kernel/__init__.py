"""Runs: the data plane in the kernel: its program, its maps, and what keeps both when no process lives."""
