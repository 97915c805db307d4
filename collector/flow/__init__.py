"""Followers of the originals: each reads the ledger from its own cursor and writes what is derived.

Nothing here is an original: deleting a projection and starting again rebuilds it equal.
"""
