"""Pure: YAML text to a `Config`, with every problem at file:line:column."""
