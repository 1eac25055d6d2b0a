"""Pure: the way from the running to the desired state (plan, diff, reconciler, failures, pauses, traces)."""
