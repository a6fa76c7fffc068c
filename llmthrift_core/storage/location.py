"""The location of a database: a path, ":memory:" or a SQLAlchemy URL, read once into a `Location`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from llmthrift_core import settings
from llmthrift_core.errors import ConfigurationError

Dialect = Literal["sqlite", "postgresql"]

ACCEPTED: Final = (
    'accepted are a file path, ":memory:", "sqlite:///relative.db", "sqlite:////absolute.db" and "postgresql://user:password@host/name"'
)
_POSTGRESQL: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_SQLITE: Final = frozenset({"sqlite", "sqlite+pysqlite"})
_POSTGRESQL_PORT: Final = "5432"
_SOCKETS: Final = frozenset({"/var/run/postgresql", "/run/postgresql", "/tmp"})  # noqa: S108 - where servers have theirs by default
_SECRET_PARAMETERS: Final = frozenset({"password", "sslpassword"})
# "sqlite:file.db" or "postgres:/host" is a mistyped URL and no path; one letter is a Windows drive.
_LOOKS_LIKE_URL: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.]+:")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database is.

    Attributes:
        dialect: "sqlite" or "postgresql".
        url: for SQLAlchemy, with the password.
        path: the file of an SQLite database; None in memory and on PostgreSQL.
        uri: SQLite's own "file:" URI where the URL has options such as mode=ro.
    """

    dialect: Dialect
    url: URL
    path: Path | None = None
    uri: str | None = None

    @property
    def in_memory(self) -> bool:
        return self.dialect == "sqlite" and self.path is None and self.uri is None

    @property
    def place(self) -> tuple[str, ...] | None:
        """What is equal for two locations of one database: the file behind every link, or the server's address; None in memory.

        An address is completed as libpq does it, from the URL's options and the environment. The names of this machine are one, and so
        are the usual directories of its sockets; any other directory is a server of its own.
        """
        if self.path is not None:
            return "sqlite", os.path.realpath(self.path)
        if self.in_memory:
            return None
        given = {name: value if isinstance(value, str) else ",".join(value) for name, value in self.url.query.items()}
        service = given.get("service") or os.environ.get("PGSERVICE", "")
        host = given.get("hostaddr") or given.get("host") or self.url.host or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST", "")
        port = given.get("port") or str(self.url.port or "") or os.environ.get("PGPORT") or _POSTGRESQL_PORT
        user = given.get("user") or self.url.username or os.environ.get("PGUSER", "")
        name = given.get("dbname") or self.url.database or os.environ.get("PGDATABASE") or user
        hosts = ",".join(_host(each) for each in host.split(","))
        options = given.get("options", "")
        return "postgresql", service, hosts, port, name, options if "search_path" in options else ""

    def __str__(self) -> str:
        """The URL without its password."""
        if self.dialect == "postgresql" or self.uri is not None:
            return _display(self.url)
        return f"sqlite:///{self.path or ':memory:'}"


def locate(url: str | Path | None) -> Location:
    """Read a URL or path. None is $LLMTHRIFT_URL, else ./llmthrift.db.

    Raises:
        ConfigurationError: not a URL or path that llmthrift can use.
    """
    if url is None:
        url = settings.default_url()
    if isinstance(url, Path):
        return _file(url)
    if not isinstance(url, str) or not url.strip():
        raise ConfigurationError(f"not a database URL: {url!r}; {ACCEPTED}")
    if url == ":memory:":
        return _memory()
    if "://" not in url:
        if _LOOKS_LIKE_URL.match(url):
            raise ConfigurationError(f"not a database URL: {_without_password(url)!r}; {ACCEPTED}")
        return _file(Path(url))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(f"not a database URL: {_without_password(url)!r}; {ACCEPTED}") from None
    if parsed.drivername in _POSTGRESQL:
        return Location("postgresql", parsed.set(drivername="postgresql+psycopg"))
    if parsed.drivername in _SQLITE:
        return _sqlite(parsed)
    raise ConfigurationError(f"unknown kind of database {parsed.drivername!r} in {_display(parsed)!r}; {ACCEPTED}")


def _file(path: Path) -> Location:
    absolute = path.expanduser().absolute()
    return Location("sqlite", URL.create("sqlite", database=str(absolute)), path=absolute)


def _memory() -> Location:
    return Location("sqlite", URL.create("sqlite", database=":memory:"))


def _sqlite(url: URL) -> Location:
    if url.host:
        raise ConfigurationError(f"an SQLite URL has three slashes before a relative path: {_display(url)!r}; {ACCEPTED}")
    database = url.database or ":memory:"
    if database == ":memory:" or database.startswith("file::memory:") or url.query.get("mode") == "memory":
        return _memory()
    if not database.startswith("file:"):
        if url.query:
            raise ConfigurationError(f"options need the form sqlite:///file:path?mode=ro&uri=true: {_display(url)!r}")
        return _file(Path(database))
    path = Path(database.removeprefix("file:")).absolute()
    options = "&".join(f"{name}={value}" for name, value in url.query.items() if name != "uri")
    return Location("sqlite", url, path=path, uri=path.as_uri() + (f"?{options}" if options else ""))


def _host(host: str) -> str:
    """A server's host, by one name."""
    if host.startswith(("/", "@")):
        return "" if host.rstrip("/") in _SOCKETS else host
    name = host.rstrip(".").strip("[]").lower()
    return "" if name in ("localhost", "::1") or name.startswith("127.") else name


def _display(url: URL) -> str:
    secrets = {name: "***" for name in url.query if name in _SECRET_PARAMETERS}
    return url.update_query_dict(secrets).render_as_string(hide_password=True)


def _without_password(url: str) -> str:
    return re.sub(r":[^:@/]*@", ":***@", url)
