"""Refusals: why a request about identities cannot be accepted, and what to do next.

Owns the exception classes; the API maps each class to a status. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence


class RefusedError(Exception):
    """A request that is refused. `what` happened, `why`, and what to do `next_step`."""

    def __init__(self, *, what: str, why: str, next_step: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(f"{what}: {why}. {next_step}")
        self.what = what
        self.why = why
        self.next_step = next_step
        self.candidates = tuple(candidates)


class UnknownIdentityError(RefusedError):
    """Nothing of that name is registered (404)."""


class AmbiguousIdentityError(RefusedError):
    """Several things answer to that name; `candidates` lists them (409)."""


class ContradictionError(RefusedError):
    """It contradicts what the journal already holds (409)."""


class UnacceptableError(RefusedError):
    """The request makes no sense as it stands (422)."""

    @classmethod
    def of(cls, error: ValueError) -> UnacceptableError:
        """From a name or time that could not be read."""
        return cls(what="unusable value", why=str(error), next_step="Correct it and send it again.")


class SecondPersonError(RefusedError):
    """Another person must do this (403)."""
