"""The refusal of a number: which, why, and what a right one looks like."""

from __future__ import annotations


class NumberError(ValueError):
    """A number that cannot be what it claims; the message says why, in words for whoever scanned it."""
