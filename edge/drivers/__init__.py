"""The agent's hands: Modbus, MQTT sensors and the clock. Only these rooms and `app` do I/O."""
