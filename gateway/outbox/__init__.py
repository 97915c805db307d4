"""The outbox: readings on this machine's disk from their append until their receipt, and days longer.

`store.Outbox` is the door. `model` decides (pure), `recover` opens and quarantines files, `config`
holds the `[outbox]` section of edge.toml. Knows nothing of brokers, devices or points' meaning.
"""
