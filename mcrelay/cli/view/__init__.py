"""Runs in the command line: turns documents into text for terminals and pipes."""
