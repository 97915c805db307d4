"""Old ranges of the ledger in compressed files that never change."""
