"""Runs: files: configuration, state directory, run directory, atomic writes."""
