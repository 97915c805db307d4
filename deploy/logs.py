"""Where log lines go: to stderr, one line each, so that stdout holds nothing but a command's answer.

Owns the set-up of structlog and of the standard library's logging beneath it. Must not know what
is logged: rooms ask `structlog.get_logger()` and name an event with its facts.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

import structlog

LEVEL_VARIABLE: Final = "TELOMERE_LOG"
"""Environment variable with the least level shown: debug, info (the default), warning or error."""


def configure() -> None:
    """Both logging systems, in one form: coloured on a terminal, key=value elsewhere."""
    level = logging.getLevelNamesMapping().get(os.environ.get(LEVEL_VARIABLE, "info").upper(), logging.INFO)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "event"], bool_as_flag=False
        )
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,  # stderr is looked up anew: lines are rare, and it may be replaced
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
