"""The board's parts as JSON texts, and back: what survives a restart.

Owns the form of each kept part by its key. Stored forms only grow: a field that an older release did not
write has its default. Must not know the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from pydantic import TypeAdapter

from collector.alarms import definitions
from collector.alarms.board import Board, Line
from collector.alarms.model import Alarm, Retro
from collector.alarms.watch import RuleWatch, SensorWatch
from collector.identity.facts import RuleVersion

_ALARM: Final = TypeAdapter(Alarm)
_RETRO: Final = TypeAdapter(Retro)
_LINE: Final = TypeAdapter(Line)
RETRO_KEY: Final = "retro"


def texts_of(board: Board, keys: Iterable[str]) -> dict[str, str]:
    """The parts of these keys as the board has them."""
    return {key: _text_of(board, key) for key in sorted(keys)}


def _text_of(board: Board, key: str) -> str:
    kind, _, name = key.partition(":")
    match kind:
        case "rule":
            return json.dumps(asdict(board.rules[name]))
        case "watch":
            return json.dumps(board.watches[name].state())
        case "sensor":
            return json.dumps(asdict(board.sensors[name]))
        case "line":
            return _LINE.dump_json(board.lines[name]).decode()
        case _ if key in board.retros:
            return json.dumps({RETRO_KEY: _RETRO.dump_python(board.retros[key], mode="json")})
        case _:
            return _ALARM.dump_json(board.alarms[key]).decode()


def alarm_of_text(text: str) -> Alarm | Retro:
    """One alarm or finding as it was kept."""
    body: Any = json.loads(text)
    return _RETRO.validate_python(body[RETRO_KEY]) if RETRO_KEY in body else _ALARM.validate_python(body)


def board_of(kept: Mapping[str, str]) -> Board:
    """The board that was kept. ValueError when a part is not what this release can read."""
    board = Board()
    for key, text in sorted(kept.items()):  # alarm, line, rule, sensor, watch
        kind, _, name = key.partition(":")
        body: Any = json.loads(text)
        match kind:
            case "rule":
                board.rules[name] = RuleVersion(**body)
            case "watch":
                rule = board.rules[name]
                watch = RuleWatch(definitions.condition_of(rule), period_ns=int(body["period_ns"]))
                watch.resume(body)
                board.watches[name] = watch
            case "sensor":
                board.sensors[name] = SensorWatch(**body)
            case "line":
                board.lines[name] = _LINE.validate_python(body)
            case _ if RETRO_KEY in body:
                board.retros[key] = _RETRO.validate_python(body[RETRO_KEY])
            case _:
                board.alarms[key] = _ALARM.validate_python(body)
    return board
