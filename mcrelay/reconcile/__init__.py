"""Pure: desired versus running: plan, diff, reconciler, failures, pauses, lifecycle, trace requests."""
