"""Who and what: identities, the links between them, and what contradicts itself.

Pure. Everything here is a fold over the two originals (scan events of the ledger, rows of the
journal) up to a position; nothing is updated in place, so what was known then can be asked again.
"""
