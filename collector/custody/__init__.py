"""Custody: EPCIS events, their hash, and who had a batch when. Pure."""
