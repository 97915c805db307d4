"""The uplink: from the outbox to the collector, and its receipts back.

Owns births, data, deaths, the window, re-sending and settling. `session` and `window` decide and do
nothing, `drain` does and decides nothing. Must not know what a reading means nor how it was measured.
"""
