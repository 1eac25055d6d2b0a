"""Runs: watches the configuration files and reports when they may have changed."""
