"""The ledger, the first original: what was received, exactly as it was, in the order of its commit."""

from collector.store.ledger.entries import (
    LEDGER_NAME,
    Committed,
    Draft,
    Entry,
    EntryKind,
    Mark,
    Outcome,
    Restored,
)
from collector.store.ledger.ledger import Ledger, assign_new_id, is_full

__all__ = [
    "LEDGER_NAME",
    "Committed",
    "Draft",
    "Entry",
    "EntryKind",
    "Ledger",
    "Mark",
    "Outcome",
    "Restored",
    "assign_new_id",
    "is_full",
]
