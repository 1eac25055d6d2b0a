"""Runs: test packets: probe, pacer, sender, receiver, statistics."""
