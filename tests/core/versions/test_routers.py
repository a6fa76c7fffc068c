"""Versions of fitted routers, on every kind of database."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, select, text, update

from llmthrift_core import Thrift
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.routing import Cascade, Example, LearnedRouter
from llmthrift_core.storage.migrations.upgrade import upgrade
from llmthrift_core.storage.tables import versions as versions_table
from tests.core.clock import Clock
from tests.core.routing.workload import labelled
from tests.core.storage.backends import shared_databases

MODELS = {"weak": 0.6, "strong": 12.0}
NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)


@pytest.fixture
def thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, clock=Clock(NOON.timestamp())) as opened:
        yield opened


@pytest.fixture(scope="module")
def fitted() -> LearnedRouter:
    return LearnedRouter(MODELS).fit(labelled(80, sites=True))


def test_a_version_decides_as_the_router_that_was_saved(thrift, fitted):
    saved = thrift.routers.save(fitted, name="support", note="first")
    assert (saved.version, saved.active, saved.note, saved.created_at) == (1, True, "first", NOON)
    loaded = thrift.routers.load("support")
    assert loaded.version == fitted.version
    for prompt in ("Please prove the theorem of case 3", "Please greet the customer of case 3"):
        assert loaded.decide(prompt, "research") == fitted.decide(prompt, "research")


def test_a_cascade_is_saved_with_its_thresholds(thrift):
    answers = [
        Example(f"Is {n} even?", model, float(model == "strong" or n % 2 == 0), answer="yes" * (1 + n % 2))
        for n in range(60)
        for model in MODELS
    ]
    cascade = Cascade(list(MODELS), min_quality=0.5).fit(answers)
    thrift.routers.save(cascade, name="checks")
    loaded = thrift.routers.load("checks")
    assert isinstance(loaded, Cascade)
    assert loaded.thresholds == cascade.thresholds
    assert loaded.confidence("Is 4 even?", "yes") == cascade.confidence("Is 4 even?", "yes")


def test_roll_back_and_forth(thrift, fitted):
    for note in ("a", "b", "c"):
        thrift.routers.save(LearnedRouter(MODELS, min_quality={"a": 0.9, "b": 0.95, "c": 0.99}[note]), name="support", note=note)
    thrift.routers.save(fitted, name="other")
    assert thrift.routers.roll_back("support").note == "b"
    assert [(each.version, each.active) for each in thrift.routers.versions("support")] == [(3, False), (2, True), (1, False)]
    assert thrift.routers.load("support").version == LearnedRouter(MODELS, min_quality=0.95).version
    assert thrift.routers.roll_back("support").version == 1
    with pytest.raises(ConfigurationError, match=r"version 1 of router 'support' is the first"):
        thrift.routers.roll_back("support")
    assert thrift.routers.roll_back("support", 3).note == "c"
    assert thrift.routers.load("support", 1).version == LearnedRouter(MODELS, min_quality=0.9).version
    assert thrift.routers.save(fitted, name="support").version == 4
    assert [each.version for each in thrift.routers.versions("support") if each.active] == [4]
    assert thrift.routers.names() == ["other", "support"]
    assert [each.active for each in thrift.routers.versions("other")] == [True]


def test_what_is_not_there_is_named(thrift, fitted):
    with pytest.raises(ConfigurationError, match="there is no router 'support'; there are: none"):
        thrift.routers.load("support")
    thrift.routers.save(fitted, name="support")
    with pytest.raises(ConfigurationError, match="router 'support' has no version 7; there are: 1"):
        thrift.routers.load("support", 7)
    with pytest.raises(ConfigurationError, match="there is no router 'x'; there are: 'support'"):
        thrift.routers.roll_back("x")
    assert thrift.routers.versions("x") == []


def test_only_routers_under_storable_names(thrift, fitted):
    with pytest.raises(ConfigurationError, match="not a str"):
        thrift.routers.save("router", name="a")
    for name in ("", "a\0b", None):
        with pytest.raises(ConfigurationError, match="name must be a text"):
            thrift.routers.save(fitted, name=name)
    with pytest.raises(ConfigurationError, match="note must be a text"):
        thrift.routers.save(fitted, name="a", note="\0")


def _without_an_array(state: bytes) -> bytes:
    """The same file without the first array that is not the header."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(state)) as old, zipfile.ZipFile(made, "w") as new:
        left_out = next(name for name in old.namelist() if name != "header.npy")
        for name in old.namelist():
            if name != left_out:
                new.writestr(name, old.read(name))
    return made.getvalue()


def test_damaged_bytes_are_refused(thrift, fitted):
    thrift.routers.save(fitted, name="support")
    with thrift.database.read() as connection:
        state = bytes(connection.execute(select(versions_table.c.state)).scalar_one())
    flipped = bytearray(state)
    flipped[len(state) // 2] ^= 0xFF
    pickled = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x05hello\x94."
    for damaged in (b"", b"nonsense", state[: len(state) // 2], bytes(flipped), pickled, _without_an_array(state)):
        with thrift.database.write() as connection:
            connection.execute(update(versions_table).values(state=damaged))
        with pytest.raises(StorageError, match=r"version 1 of router 'support' .*roll back, or fit again"):
            thrift.routers.load("support")


def test_a_router_with_an_embedder_asks_for_it(thrift):
    import numpy as np

    def embedder(texts):
        return np.array([[len(text), text.count("e")] for text in texts], dtype=float)

    router = LearnedRouter(MODELS, embedder=embedder).fit(labelled(60))
    thrift.routers.save(router, name="a")
    with pytest.raises(ConfigurationError, match="embedder"):
        thrift.routers.load("a")
    assert thrift.routers.load("a", embedder=embedder).version == router.version


@shared_databases
def test_saved_at_once_by_several_every_version_is_kept_and_one_is_active(any_url):
    opened = [Thrift(any_url) for _ in range(4)]
    barrier, errors = threading.Barrier(len(opened)), []

    def save(thrift: Thrift, number: int) -> None:
        try:
            barrier.wait(30)
            for _ in range(3):
                thrift.routers.save(LearnedRouter(MODELS), name="a", note=str(number))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(thrift, number)) for number, thrift in enumerate(opened)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = opened[0].routers.versions("a")
    for thrift in opened:
        thrift.close()
    assert errors == []
    assert [each.version for each in found] == list(range(12, 0, -1))
    assert sum(each.active for each in found) == 1


def test_what_was_never_active_is_not_gone_back_to(thrift, fitted):
    thrift.routers.save(fitted, name="support")
    kept = thrift.routers.store.add("support", fitted.to_bytes(), note="not good enough", activate=False)
    assert (kept.active, kept.activated_at) == (False, None)
    assert thrift.routers.store.active("support") == 1
    thrift.routers.save(fitted, name="support")
    assert thrift.routers.roll_back("support").version == 1
    assert thrift.routers.roll_back("support", 2).active
    assert thrift.routers.store.add("support", b"late", note=None, latest=2) is None
    assert [each.version for each in thrift.routers.versions("support")] == [3, 2, 1]


def test_without_an_active_version_it_says_how_to_get_one(thrift, fitted):
    thrift.routers.store.add("support", fitted.to_bytes(), note=None, activate=False)
    with pytest.raises(ConfigurationError, match=r"no version of router 'support' is active; roll_back\('support', NUMBER\).*: 1"):
        thrift.routers.load("support")
    assert thrift.routers.roll_back("support", 1).active


def test_a_name_is_free_of_what_separates_it_from_the_number(thrift, fitted):
    with pytest.raises(ConfigurationError, match='free of "@"'):
        thrift.routers.save(fitted, name="support@1")


def test_routers_of_the_schema_before_are_found_again(tmp_path, fitted):
    engine = create_engine(f"sqlite:///{tmp_path}/old.db")
    with engine.begin() as connection:
        upgrade(connection, "0006")
        row = {"state": fitted.to_bytes(), "note": None, "name": "support"}
        for version, active in ((1, 0), (2, 1)):
            connection.execute(
                text("INSERT INTO llmthrift_router_versions VALUES (:name, :version, :state, :created_us, :note, :active)"),
                {**row, "version": version, "created_us": version * 1_000_000, "active": active},
            )
    engine.dispose()
    with Thrift(tmp_path / "old.db") as thrift:
        assert thrift.routers.load("support").version == fitted.version
        assert [each.version for each in thrift.routers.versions("support") if each.active] == [2]
        assert thrift.routers.roll_back("support").version == 1
