"""Values as JSON and CSV say them. Pure; must not know where they come from."""

from __future__ import annotations

import math

from gateway.contract.reading import Value


def json_value(value: Value | None) -> Value | None:
    """As JSON can say it: NaN and infinities are no value."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_value(value: Value | None) -> str:
    """As CSV says it: empty for no value, otherwise exact."""
    match json_value(value):
        case None:
            return ""
        case bool() as truth:
            return str(truth).lower()
        case float() as number:
            return repr(number)
        case other:
            return str(other)
