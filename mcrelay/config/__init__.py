"""Pure: parses YAML text into a `Config`, and reports each problem with its file, line and column."""
