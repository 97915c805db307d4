"""Stores: the ledger (an original), the projection of it, and the port through which readings are read.

Owns every SQLite file of the collector but the registry's. Must not know MQTT nor HTTP.
"""
