"""Runs: the process that answers clients: it parses their requests, and has no privilege."""
