"""What both ends of the uplink agree on, and the durable way between them.

Owns the contract (readings, segments, codec, receipts, events), the limit rules that both ends
evaluate, the outbox, the uplink session and the one MQTT link class. Knows nothing of sensors
(`edge`) and nothing of batches (`collector`).
"""
