"""The sensing half of a gateway: sensors, readings, findings; everything goes into the outbox.

Owns configuration, drivers, decoding, slots and the agent. Never sees the collector.
"""
