"""The contract: what a reading, a segment, a birth, an event and a receipt are, and their wire form.

Pure: no clock, no socket, no file, no randomness. `collector` and `edge` both import it and never
each other. Wire facts are described in `docs/protocol.md`.
"""
