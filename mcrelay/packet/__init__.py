"""Pure: the packet contract: frame layout, header readers and the forwarding lookup."""
