"""Pure: the vocabulary of all processes: addresses, links, state and actions, drops, counters."""
