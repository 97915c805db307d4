"""Sinks: other people's stores that follow the ledger: InfluxDB, VictoriaMetrics, Parquet files.

Owns how readings are written there, each sink's own cursor (never ahead of what the sink has durably),
and what a sink refused. The task that drives them is in `collector.flow.sinks`. A sink is a copy: no
answer of the collector is ever read from one.
"""
