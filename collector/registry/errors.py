"""What can be wrong with the registry itself; refused requests are `collector.identity.errors`."""

from __future__ import annotations


class RegistryError(Exception):
    """The registry cannot be opened or written; the message says why and what to do."""
