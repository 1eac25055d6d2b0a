"""Runs: how a program talks to a daemon: connection, reload request, operator request."""
