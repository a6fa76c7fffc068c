from __future__ import annotations

from pathlib import Path

import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.storage.location import locate


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (":memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite:///:memory:"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("/data/a.db", "sqlite:////data/a.db"),
        ("sqlite:////data/a.db", "sqlite:////data/a.db"),
        ("sqlite+pysqlite:////data/a.db", "sqlite:////data/a.db"),
        (Path("/data/a b.db"), "sqlite:////data/a b.db"),
        ("postgresql://ada:secret@db.example/ledger", "postgresql+psycopg://ada:***@db.example/ledger"),
        ("postgres://ada:secret@db.example/ledger", "postgresql+psycopg://ada:***@db.example/ledger"),
        ("postgresql://db/ledger?password=secret", "postgresql+psycopg://db/ledger?password=%2A%2A%2A"),
    ],
)
def test_what_is_accepted(url: str | Path, shown: str) -> None:
    assert str(locate(url)) == shown


def test_a_relative_path_is_relative_to_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("a.db").path == tmp_path / "a.db"
    assert locate("sqlite:///a.db").path == tmp_path / "a.db"


def test_none_is_the_environment_variable_or_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(None).path == tmp_path / "llmthrift.db"
    monkeypatch.setenv("LLMTHRIFT_URL", "postgresql://db/ledger")
    assert locate(None).dialect == "postgresql"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "  ",
        "sqllite:///a.db",
        "mysql://ada:secret@db/ledger",
        "postgresql+asyncpg://ada:secret@db/ledger",
        "sqlite:a.db",
        "sqlite:/a.db",
        "postgres:/ada:secret@db/ledger",
        "postgresql://ada:secret@db:port/ledger",
        "sqlite://host/a.db",
        "sqlite:///a.db?timeout=5",
        "http://db",
        5,
    ],
)
def test_a_mistyped_url_is_refused_without_its_password(url: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        locate(url)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    if isinstance(url, str) and "://" in url:
        assert url.split("://")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("postgres://ada:one@LOCALHOST/x", {}),
        ("postgresql+psycopg://bob@127.0.0.1:5432/x?sslmode=disable&application_name=y", {}),
        ("postgresql://[::1]/x", {}),
        ("postgresql:///x", {}),
        ("postgresql:///x?host=/var/run/postgresql", {}),
        ("postgresql:///?dbname=x&host=localhost&port=5432", {}),
        ("postgresql://", {"PGDATABASE": "x", "PGHOST": "localhost", "PGPORT": "5432"}),
        ("postgresql://x@localhost", {"PGPORT": ""}),  # the name of the user is that of the database
    ],
)
def test_a_server_is_one_place_however_it_is_written(url: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert locate(url).place == locate("postgresql://localhost:5432/x").place


def test_other_servers_ports_names_and_schemas_are_other_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    urls = [
        "postgresql://localhost/x",
        "postgresql://localhost/y",
        "postgresql://localhost:5433/x",
        "postgresql://example.com/x",
        "postgresql:///x?host=/srv/one",
        "postgresql:///x?host=/srv/two",
        "postgresql://localhost/x?options=-csearch_path%3Dtenant",
    ]
    assert len({locate(url).place for url in urls}) == len(urls)
    assert locate("postgresql://Example.com./x").place == locate("postgresql://example.com:5432/x").place


def test_a_file_is_one_place_by_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    urls = [
        "folder/a.db",
        tmp_path / "link" / "a.db",
        f"sqlite:///{tmp_path}/folder/../folder/a.db",
        "sqlite:///file:link/a.db?mode=ro&uri=true",
    ]
    assert len({locate(url).place for url in urls}) == 1
    assert locate(":memory:").place is None
