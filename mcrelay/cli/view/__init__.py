"""Runs: turns the documents and results of the verbs into text for terminals and pipes."""
