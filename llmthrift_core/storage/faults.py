"""Driver errors become `StorageError`, and no text of a row or a password travels in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from llmthrift_core.errors import RowRejectedError, StorageError

# What SQLite's own messages mean, by a fragment of them. First match wins.
_SQLITE_HINTS: Final = (
    ("file is not a database", "it is not an SQLite database, or it is damaged or encrypted"),
    ("malformed", "the database is damaged; `llmthrift doctor` shows where"),
    ("readonly database", "the file or its directory is read-only"),
    ("locked", "another connection holds the database longer than busy_timeout_seconds"),
    ("disk is full", "the disk is full"),
    ("unable to open database file", "the file cannot be opened: check that its directory exists and may be written"),
)


class ClosedError(StorageError):
    """The database was closed."""

    def __init__(self, url: str) -> None:
        super().__init__(f"the database {url} is closed")


class UnavailableError(StorageError):
    """The server cannot be reached, or does not answer."""


def storage_error(error: BaseException, doing: str) -> StorageError:
    """The StorageError for what a driver or SQLAlchemy raised while `doing` something.

    Only SQLite's messages are repeated, which hold no values of rows; PostgreSQL's details do, so of those only the
    SQLSTATE and its name are kept.
    """
    origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(origin, (OverflowError, UnicodeError)):
        return RowRejectedError(f"{doing}: a value cannot be stored ({type(origin).__name__})")
    if isinstance(origin, sqlite3.Error):
        return _sqlite_error(origin, doing)
    if isinstance(origin, PoolTimeoutError):
        return StorageError(f"{doing}: no connection came free in time; run fewer threads at once, or raise busy_timeout_seconds")
    if isinstance(origin, SQLAlchemyError):
        return StorageError(f"{doing}: {type(origin).__name__}")
    if isinstance(origin, OSError):
        return UnavailableError(f"{doing}: {origin.strerror or type(origin).__name__}")
    return _postgresql_error(origin, doing)


def _sqlite_error(error: sqlite3.Error, doing: str) -> StorageError:
    text = str(error)
    rejects = (sqlite3.InterfaceError, sqlite3.DataError, sqlite3.IntegrityError)
    if isinstance(error, rejects) or ("type" in text and "not supported" in text):
        return RowRejectedError(f"{doing}: {text}")
    hint = next((meaning for fragment, meaning in _SQLITE_HINTS if fragment in text), None)
    return StorageError(f"{doing}: {hint} ({text})" if hint else f"{doing}: {text}")


def _postgresql_error(error: BaseException, doing: str) -> StorageError:
    sqlstate = getattr(error, "sqlstate", None)
    name = type(error).__name__
    if sqlstate is None:
        # Without a SQLSTATE the error is the client's: a refused connection, or a value that it cannot convert.
        if name in ("ProgrammingError", "DataError", "NotSupportedError"):
            return RowRejectedError(f"{doing}: a value cannot be stored ({name})")
        return UnavailableError(f"{doing}: {str(error).splitlines()[0] if str(error) else name}")
    # Class 22 is "data exception", 23 "integrity constraint violation", 54 "program limit exceeded"; 08 is "connection exception", and
    # 57P the server's shutdown, crash or start.
    kind: type[StorageError] = StorageError
    if sqlstate[:2] in ("22", "23", "54"):
        kind = RowRejectedError
    elif sqlstate[:2] == "08" or sqlstate[:3] == "57P":
        kind = UnavailableError
    return kind(f"{doing}: {name} (SQLSTATE {sqlstate})")


@contextmanager
def as_storage_errors(doing: str) -> Iterator[None]:
    """Turn what SQLAlchemy, or SQLite below it, raises inside the block into StorageError."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise storage_error(error, doing) from error
