"""Runs: how a program reaches a daemon: connection, reload request, operator request."""
