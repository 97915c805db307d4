"""Findings: what a detector noticed, with everything needed to understand and to repeat it.

Owns the shape of a finding, its id (the same readings give the same id, live, replayed or after a
restart) and the bookkeeping of what is open and what was said lately. Must not know how anything is
detected, nor where findings go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

REFRACTORY_MS: Final = 3_600_000
"""A detector speaks once an hour of one point: who was told need not be told again."""
REFRACTORY_OF_MS: Final = {"late": 86_400_000, "duplicate": 86_400_000}
"""A source that repeats itself does so for days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Advice; never a part of a release decision. Opened and closed under one id; `to_ms` None while open.

    score 0 to 1 (0.5 at the threshold); raw and threshold in the detector's own measure; expected_ms:
    (earliest, likely, latest) time at which a limit will be passed, where the detector can tell.
    """

    id: str
    point: str
    detector: str
    version: int
    parameters: str
    state: Literal["open", "closed"]
    time_ms: int
    from_ms: int
    to_ms: int | None
    score: float
    raw: float
    threshold: float
    value: float | None
    unit: str
    sentence: str
    expected_ms: tuple[int, int, int] | None = None
    is_end: bool = False
    """The end of one that was said before."""

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(slots=True)
class Episodes:
    """What is open, and when each (point, detector) last spoke."""

    node: str
    spoke_ms: dict[str, int] = field(default_factory=dict)
    open: dict[str, Finding] = field(default_factory=dict)

    def may_speak(self, point: str, detector: str, time_ms: float) -> bool:
        """Whether a new finding would be said, and not swallowed as one more of the last one."""
        key = f"{point} {detector}"
        last = self.spoke_ms.get(key)
        return key not in self.open and (
            last is None or abs(time_ms - last) >= REFRACTORY_OF_MS.get(detector, REFRACTORY_MS)
        )

    def is_open(self, point: str, detector: str) -> bool:
        """Whether an end would be said."""
        return f"{point} {detector}" in self.open

    def begin(self, finding: Finding, *, lasting: bool) -> Finding:
        """The finding with its id; one that does not last is closed as it is said."""
        text = (
            f"{self.node} {finding.point} {finding.detector}@{finding.version} {finding.parameters}"
            f" {finding.from_ms} {finding.time_ms}"
        )
        key = f"{finding.point} {finding.detector}"
        made = replace(
            finding,
            id=hashlib.sha256(text.encode()).hexdigest()[:32],
            state="open" if lasting else "closed",
            to_ms=None if lasting else finding.time_ms,
        )
        self.spoke_ms[key] = finding.time_ms
        if lasting:
            self.open[key] = made
        return made

    def end(self, point: str, detector: str, time_ms: int) -> Finding:
        """The end of an open finding. It may be opened again after a while, under another id."""
        finding = self.open.pop(f"{point} {detector}")
        self.spoke_ms[f"{point} {detector}"] = time_ms
        return replace(
            finding, state="closed", time_ms=time_ms, to_ms=max(time_ms, finding.from_ms), is_end=True
        )

    def document(self) -> dict[str, Any]:
        """All that must be remembered."""
        return {"spoke": self.spoke_ms, "open": {key: one.document() for key, one in self.open.items()}}

    def resume(self, document: Mapping[str, Any]) -> None:
        """Go on from such a document."""
        self.spoke_ms = dict(document["spoke"])
        for key, kept in document["open"].items():
            expected = kept["expected_ms"]
            self.open[key] = Finding(**{**kept, "expected_ms": None if expected is None else tuple(expected)})
