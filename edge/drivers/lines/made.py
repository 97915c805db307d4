"""From a `[[bus]]` to its line.

Owns which scheme is which kind of line. Must not open anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge.drivers.lines.port import Line, Rules
from edge.drivers.lines.rtu import RtuLine
from edge.drivers.lines.streams import Serial, Socket
from edge.drivers.lines.tcp import TcpLine

if TYPE_CHECKING:
    from edge.config import BusSection
    from edge.model.clocks import Clocks


def make_line(section: BusSection, clocks: Clocks) -> Line:
    """The line that a `[[bus]]` describes, not opened yet."""
    rules = Rules.of(section)
    if section.scheme == "rtu":
        where = Serial(urlsplit(section.url).path, section.speed, section.parity, section.stop_bits)
        return RtuLine(where=where, rules=rules, clocks=clocks, baud=section.speed)
    host, port = section.address
    if section.scheme == "rtu+tcp":
        return RtuLine(where=Socket(host, port), rules=rules, clocks=clocks, baud=section.baud)
    shared = section.connections == "one"
    return TcpLine(host=host, port=port, rules=rules, clocks=clocks, shared=shared)
