"""The link: one MQTT connection on the event loop, where its broker is, and when to try again.

Owns everything that touches paho-mqtt and the shared shape of configuration faults. Must not know
what the messages mean.
"""
