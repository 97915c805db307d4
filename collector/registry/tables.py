"""The registry's tables and their version: one append-only journal, int64 times, no ORM.

Owns names, types and the steps from an older version of the file to this one. Every step only adds.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    select,
)

from collector.registry.errors import RegistryError

VERSION: Final = 1

METADATA: Final = MetaData()

JOURNAL: Final = Table(
    "journal",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("known_at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("journal_known", "known_at_ns"),
    sqlite_autoincrement=True,
)

ANSWER: Final = Table(
    "answer",
    METADATA,
    Column("sha256", Text, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)
"""Answers that somebody signed, exactly as they were, under their hash."""

SCHEMA: Final = Table("schema_version", METADATA, Column("version", Integer, nullable=False))


def migrate(connection: Connection) -> None:
    """Bring the file to `VERSION`. RegistryError when a newer software wrote it."""
    METADATA.create_all(connection)
    version = connection.execute(select(SCHEMA.c.version)).scalar_one_or_none()
    if version is None:
        connection.execute(insert(SCHEMA).values(version=VERSION))
    elif version > VERSION:
        msg = f"the registry was written by a newer release (version {version}, this one knows {VERSION})"
        raise RegistryError(msg)
