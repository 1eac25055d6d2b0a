"""Runs: the process with the privileges: it decides what runs, and starts and watches the others."""
