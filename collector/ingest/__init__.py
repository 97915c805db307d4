"""Receiving: the host application on the broker, group commit, and receipts after the commit.

Must not know what is derived from the ledger: data is committed first, whatever its order or content.
"""
