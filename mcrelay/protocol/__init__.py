"""Pure: the messages between processes and with clients: framing, snapshot delta, JSON-RPC."""
