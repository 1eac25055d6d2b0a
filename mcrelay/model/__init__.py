"""Pure: the vocabulary of all processes (addresses, links, states, actions, rule status, drops, counters)."""
