"""`telomere bench`: what each stage sustains, measured on this machine with the real parts.

`store` is the table of figures with the peers in the same run; its parts stand beside it: `filled` makes
a ledger, `reads` asks it, `sustained` sends from real outboxes (`senders`) through a real broker (`site`),
`peers` writes to InfluxDB and VictoriaMetrics, `machine` says what it ran on. Must not be imported by
anything but the command line and tests.
"""
