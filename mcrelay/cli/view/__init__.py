"""Runs: turns JSON documents and results into text for terminals and pipes, for the verbs of `cli`."""
