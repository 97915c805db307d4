"""Readings of all points in the order in which they became known: what every follower of the ledger takes."""

from collector.store.rows.columns import RowPoint, Rows
from collector.store.rows.resolver import Resolver

__all__ = ["Resolver", "RowPoint", "Rows"]
