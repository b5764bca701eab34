"""Answers of `/v1/responses` that later requests may continue from, where a service keeps them.

`segments` is the file format, `tokens` the ids that say where an entry lies, `store` both together;
`entry` is what is kept, `conversation` walks from an answer back to its first question; `keeping`
is what one request has to do with it, `relay` the same in streams, `upstream` what endpoints are
sent, `paths` what clients may ask of the store. Why it is so: docs/adr/0026-kept-responses.md.
"""
