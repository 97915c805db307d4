"""The peers in the same run: InfluxDB and VictoriaMetrics, written to at their best batch size.

`lines` makes the bytes, `servers` starts the servers, `writing` measures them. Everything is built
before the clock runs, so that the client is not the bound.
"""
