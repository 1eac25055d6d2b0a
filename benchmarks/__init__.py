"""How fast mcrelay is, beside its peers in the same run on the same traffic: `make bench`.

Read in this order: `case` (what is relayed), `peers` (by whom), `testbed` (on which network), `generator` and
`sinks` (what sends and what counts), then the questions, each a module that yields samples: `rate`,
`saturation`, `load`, `latency`, `startup`, `scale`, `footprint`. `figures` holds what was measured; `table`,
`plot`, `goals` and `results` show it.
"""
