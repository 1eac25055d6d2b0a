"""Runs: reads and writes the configuration files, the state directory and the run directory."""
