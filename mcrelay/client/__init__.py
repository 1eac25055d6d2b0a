"""Runs: connects to a daemon, calls its methods, and submits requests to reload, try or confirm."""
