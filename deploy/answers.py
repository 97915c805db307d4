"""How a command ends: its exit code, and the sentence for everything that can go wrong.

Owns the one place where an exception becomes words on stderr and an exit code. Must not know what
any command does. 0 fine, 1 a negative finding, 2 bad usage or configuration (a port in use too),
3 a peer cannot be reached.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final, NoReturn

import typer


class Exit(IntEnum):
    """Exit codes of every command."""

    FINE = 0
    FINDING = 1
    USAGE = 2
    UNREACHABLE = 3


class CommandError(Exception):
    """A command cannot do what it was asked: a sentence, what to do next, and the exit code."""

    def __init__(self, problem: str, *, hint: str = "", code: Exit = Exit.USAGE) -> None:
        super().__init__(problem)
        self.problem, self.hint, self.code = problem, hint, code

    def __str__(self) -> str:
        return f"{self.problem}\n  {self.hint}" if self.hint else self.problem


_EXTRA_OF: Final = {
    "aiomqtt": "edge",
    "argon2": "collector",
    "fastapi": "collector",
    "httpx": "collector",
    "prometheus_client": "collector",
    "sqlalchemy": "collector",
    "uvicorn": "collector",
    "iotcore": "demo",
}
"""Packages that an install without the extra does not have."""


def not_built(what: str) -> NoReturn:
    """Ends a command that no issue has reached yet."""
    raise CommandError(f"{what}: not built yet")


@contextmanager
def presented() -> Iterator[None]:
    """Runs a command; a known failure is told on stderr and ends with its code, an unknown one is raised."""
    try:
        yield
    except Exception as error:  # the top of the process: what has no words is raised as it is
        told = _told(error)
        if told is None:
            raise
        sentence, code = told
        sys.stdout.flush()
        typer.echo(f"telomere: {sentence}", err=True)
        raise SystemExit(int(code)) from None


def _told(error: Exception) -> tuple[str, Exit] | None:
    """The sentence and the exit code of a failure; None for a bug of ours, which shows its trace."""
    from gateway.link.client import LinkError
    from gateway.link.faults import ConfigError

    match error:
        case CommandError():
            return str(error), error.code
        case ConfigError():
            return str(error), Exit.USAGE
        case LinkError() | ConnectionError() | TimeoutError():
            return f"cannot reach a peer: {error}", Exit.UNREACHABLE
        case ModuleNotFoundError() if extra := _EXTRA_OF.get((error.name or "").partition(".")[0]):
            hint = f"install the extra that holds it: telomere[{extra}]"
            return f"this command needs the package {error.name}\n  {hint}", Exit.USAGE
        case OSError() if error.errno == errno.EADDRINUSE:
            hint = "stop the program that listens there, or choose another port"
            return f"the port is in use: {error.strerror or error}\n  {hint}", Exit.USAGE
        case OSError() if error.errno in {
            errno.EACCES,
            errno.ENOENT,
            errno.EROFS,
            errno.ENOSPC,
            errno.EDQUOT,
        }:
            where = f" {error.filename}" if error.filename else ""
            return f"cannot use{where}: {error.strerror}", Exit.USAGE
        case _:
            return None
