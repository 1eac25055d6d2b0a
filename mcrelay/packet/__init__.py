"""Pure: the packet contract: frame layout, array and scalar reader of headers, endpoint keys, lookup."""
