"""Pure: what becomes of a reload: result, trial, history entry, operator request, debounce."""
