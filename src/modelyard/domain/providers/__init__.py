"""Outside providers: what is known of each kind, and what a gateway needs to call one.

`kinds` is the table, `addresses` knows origins and paths, `endpoints` makes what a snapshot holds.
Gateway processes and the command line import these, so each needs little. The document that people
write is in `domain/documents/providers.py`.
"""
