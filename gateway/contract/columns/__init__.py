"""Many data payloads at once, decoded straight into columns.

`decode_many` is the fast twin of `decode.decode_data`: one call of a compiled kernel for a whole commit
batch, and the plain decoder for whatever that kernel does not know. Answers are equal either way
(docs/decisions/0011).
"""

from gateway.contract.columns.compiled import ready, warm
from gateway.contract.columns.many import Columns, decode_many
from gateway.contract.columns.newest import newest

__all__ = ["Columns", "decode_many", "newest", "ready", "warm"]
