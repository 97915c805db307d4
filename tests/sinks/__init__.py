"""Sinks against real servers, and what they are built of."""
