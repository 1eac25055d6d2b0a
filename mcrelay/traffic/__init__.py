"""Runs: test packets of `mcrelay send` and `receive`: payload, pacing, sockets, statistics."""
