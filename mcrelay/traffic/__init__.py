"""Runs: sends and receives the test packets of `mcrelay send` and `mcrelay receive`."""
