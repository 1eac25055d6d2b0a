"""Pure: the layout of frames, the array and scalar readers of headers, endpoint keys and the lookup."""
