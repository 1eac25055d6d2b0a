"""The manual: pages made of the verbs' parsers, the schemas, the drop reasons and the texts beside them.

A page is a map of sections. What the code knows is taken from the code; what only a person can tell stands in
`packaging/manual/PAGE.md`, in the markup of `roff.py`. Read `pages.py` first.
"""
