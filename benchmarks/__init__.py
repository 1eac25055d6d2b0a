"""Benchmarks of mcrelay and its peers, in one run on the same traffic: `make bench`.

Read in this order: `case` (the traffic), `peers` (the relays), `testbed` (the network), `generator` and
`sinks` (which send and count packets), then the questions, each a module that yields samples: `rate`,
`saturation`, `load`, `paced`, `latency`, `startup`, `scale`, `trace`, `footprint`. `figures` holds
the results; `table`, `plot`, `overview`, `goals` and `results` show them, and `publish` writes them into the
documentation.
"""
