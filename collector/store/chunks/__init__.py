"""The readings of all points in compressed columns, with the ledger id since which each is known."""
