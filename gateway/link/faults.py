"""Faults of configuration: every one of a file at once, each with file, key, problem and what to do.

Owns the shape of a fault, the error that carries all of them, and the reading of a TOML file into a
frozen pydantic model. It lives in the link because this is the one room that both ends may import.
Must not know any particular section: `edge.config` and `collector.config` bring their models.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

VALUE_LENGTH_MAX: Final = 60
"""Characters of an offending value that are shown: enough to recognise it, short enough for one line."""
KNOWN_KEYS_MAX: Final = 12
"""Known keys that are listed when none resembles the unknown one: more is a manual, not a hint."""

M = TypeVar("M", bound=BaseModel)
Loc = tuple[int | str, ...]

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_WANTED: Final[Mapping[str, str]] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "path_type": "must be a path in quotes",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
}
"""pydantic's error types in the words of somebody who edits TOML."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: `key` is the dotted TOML key (`device[0].period_ms`), "" for the file."""

    file: str
    key: str
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.problem}" + (f"\n    {self.hint}" if self.hint else "")


class ConfigError(Exception):
    """A configuration that cannot be used, with every fault that was found in it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        count = len(self.faults)
        head = f"{count} fault{'' if count == 1 else 's'} in the configuration:"
        return "\n".join([head, *(f"  {fault}" for fault in self.faults)])


def load_toml_model(
    path: Path, model: type[M], *, not_built: Mapping[str, str] | None = None
) -> tuple[M, list[Fault]]:
    """The file as a `model`, and warnings; raises ConfigError with all faults at once.

    Unknown keys are faults at every depth, whether or not a model forbids them itself. `not_built`
    maps top-level keys that are legal but have no effect yet to a sentence: they are left out and
    come back as warnings. Validators find the folder of the file as `info.context["folder"]`:
    relative paths are relative to it.
    """
    file = str(path)
    document = _read(path)
    warnings = []
    for key, sentence in (not_built or {}).items():
        if document.pop(key, None) is not None:
            warnings.append(Fault(file, key, "is not built yet and has no effect", sentence))
    try:
        value = model.model_validate(document, extra="forbid", context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise ConfigError(_faults(file, document, model, error.errors(include_url=False))) from None
    return value, warnings


def _read(path: Path) -> dict[str, Any]:
    file = str(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        fault = Fault(file, "", "there is no such file", "give the path of an existing file with --config")
    except IsADirectoryError:
        fault = Fault(file, "", "is a folder, not a file", "give the path of the TOML file in it")
    except UnicodeDecodeError as error:
        fault = Fault(file, "", f"is not UTF-8 text (byte {error.start})", "save the file as UTF-8")
    except tomllib.TOMLDecodeError as error:
        fault = Fault(
            file, "", f"is not valid TOML: {error}", "mend this place first; the rest is checked then"
        )
    except OSError as error:
        fault = Fault(file, "", f"cannot be read: {error.strerror}", "check the owner and mode of the file")
    raise ConfigError([fault])


def _faults(
    file: str, document: Mapping[str, Any], model: type[BaseModel], errors: Sequence[ErrorDetails]
) -> list[Fault]:
    """One fault a key: the members of a union that all refused a value are one fault."""
    merged: dict[str, Fault] = {}
    for error in errors:
        key = _key(document, error["loc"], missing=error["type"] == "missing")
        problem, hint = _words(model, error)
        known = merged.get(key)
        if known is not None and problem not in known.problem:
            problem, hint = f"{known.problem}, or {problem}", known.hint or hint
        merged[key] = Fault(file, key, problem, hint)
    return list(merged.values())


def _words(model: type[BaseModel], error: ErrorDetails) -> tuple[str, str]:
    """Problem and hint of one pydantic error in plain language."""
    kind, loc, ctx = error["type"], error["loc"], error.get("ctx", {})
    name = str(loc[-1]) if loc else ""
    if kind == "missing":
        return "is missing", _describe(model, loc) or f"add {name} = …"
    if kind == "extra_forbidden":
        return "is not a known key", _did_you_mean(name, _known_keys(model, loc[:-1]))
    given = _shown(error["input"])
    if kind in {"value_error", "assertion_error"}:
        return f"{ctx.get('error', error['msg'])}", _describe(model, loc)
    if kind in {"literal_error", "enum"}:
        expected = str(ctx.get("expected", ""))
        words = re.findall(r"'([^']*)'", expected)
        near = difflib.get_close_matches(str(error["input"]), words, n=1)
        return f"must be {expected}, not {given}", (
            f"did you mean {near[0]!r}?" if near else _describe(model, loc)
        )
    if kind in _WANTED:
        return f"{_WANTED[kind]}, not {given}", _describe(model, loc)
    return f"{_lowered(error['msg'])}, not {given}", _describe(model, loc)


def _lowered(message: str) -> str:
    """For "Input should be greater than 0" say "must be greater than 0"."""
    return re.sub(r"^(Input|Value|String|List|Dictionary|Tuple) should ", "must ", message)


def _shown(value: object) -> str:
    """The value as it stood in the file, cut short."""
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else repr(value)
        if isinstance(value, str)
        else str(value)
    )
    return text if len(text) <= VALUE_LENGTH_MAX else text[: VALUE_LENGTH_MAX - 1] + "…"


def _key(document: Mapping[str, Any], loc: Loc, *, missing: bool) -> str:
    """The dotted TOML key of a pydantic location: parts that are not in the document are pydantic's own."""
    text = ""
    here: Any = document
    for depth, part in enumerate(loc):
        last = depth == len(loc) - 1
        if isinstance(part, int) and isinstance(here, list):
            text += f"[{part}]"
            here = here[part] if part < len(here) else None
        elif isinstance(here, dict) and (part in here or (last and missing)):
            word = str(part) if _BARE_KEY.fullmatch(str(part)) else f'"{part}"'
            text += f".{word}" if text else word
            here = here.get(part)
    return text


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    if 0 < len(known) <= KNOWN_KEYS_MAX:
        return f"known keys here: {', '.join(known)}"
    return (
        "remove it" if not known else f"remove it; the keys here are {', '.join(known[:KNOWN_KEYS_MAX])}, …"
    )


def _describe(model: type[BaseModel], loc: Loc) -> str:
    """The description that the model's field carries, as a hint."""
    for owner in _models_at(model, loc[:-1]):
        for name, field in owner.model_fields.items():
            if loc and loc[-1] in {name, field.alias}:
                return field.description or _default(field)
    return ""


def _default(field: FieldInfo) -> str:
    """What stands in for a key that nobody described: no fault is left without a way on."""
    plain = isinstance(field.default, str | int | float) and field.default != ""
    if plain:
        return f"without this key {_shown(field.default)} is taken"
    return "" if field.is_required() else "it may be left out"


def _known_keys(model: type[BaseModel], loc: Loc) -> list[str]:
    return [
        field.alias or name for owner in _models_at(model, loc) for name, field in owner.model_fields.items()
    ]


def _models_at(model: type[BaseModel], loc: Loc) -> list[type[BaseModel]]:
    """The models that may stand at a location: several for a union."""
    here: list[Any] = [model]
    for part in loc:
        step = [inner for hint in here for inner in _inside(hint, part)]
        here = step or here  # a part of pydantic's own (the tag of a union) leads nowhere
    return [found for hint in here for found in _flat(hint) if _is_model(found)]


def _inside(hint: Any, part: int | str) -> Iterator[Any]:
    for one in _flat(hint):
        if _is_model(one):
            for name, field in one.model_fields.items():
                if part in {name, field.alias}:
                    yield field.annotation
            continue
        origin, args = typing.get_origin(one), typing.get_args(one)
        if isinstance(part, int) and origin in {list, tuple, Sequence} and args:
            yield args[0]
        elif isinstance(part, str) and origin in {dict, Mapping} and args:
            yield args[1]


def _flat(hint: Any) -> Iterator[Any]:
    """The members of unions and of Annotated, at any depth."""
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        for member in typing.get_args(hint):
            yield from _flat(member)
    elif origin is typing.Annotated:
        yield from _flat(typing.get_args(hint)[0])
    else:
        yield hint


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)
