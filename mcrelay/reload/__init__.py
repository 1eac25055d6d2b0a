"""Pure: reloads (results, trials, entries of the history, requests of an operator, debouncing of changes)."""
