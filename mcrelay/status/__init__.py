"""Pure: the status that the daemon reports, built from a copy of the snapshot and from the counters."""
