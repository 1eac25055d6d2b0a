"""Pure: desired versus running: plan, diff, reconciler, failures, pauses, process lifecycle."""
