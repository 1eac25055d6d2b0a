"""The process that answers clients: it parses what they say, and holds no privilege."""
