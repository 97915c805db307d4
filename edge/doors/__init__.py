"""Doors for people: scanners on serial lines and the scan page, each act an event in the outbox once."""
