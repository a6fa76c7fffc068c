"""Prompts and other configuration in versions, on every kind of database."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from llmthrift_core import Thrift, attribute
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.routing import LearnedRouter
from llmthrift_core.storage.tables import versions
from tests.core.storage.backends import shared_databases
from tests.core.versions.judged import answer


@pytest.fixture
def thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url) as opened:
        yield opened


def test_any_json_comes_back_with_its_version(thrift):
    value = {"template": "Réponds : {question}", "models": {"small": "gpt-4o-mini"}, "temperature": 0.2, "stop": None, "n": [1, True]}
    assert thrift.configurations.save("support.prompt", value, note="first").version == 1
    assert thrift.configurations.save("support.prompt", "Answer in one sentence.").version == 2
    loaded = thrift.configurations.load("support.prompt")
    assert (loaded.value, loaded.version, loaded.label) == ("Answer in one sentence.", 2, "support.prompt@2")
    assert thrift.configurations.load("support.prompt", 1).value == value
    assert thrift.configurations.roll_back("support.prompt").note == "first"
    assert thrift.configurations.load("support.prompt").value == value
    assert thrift.configurations.names() == ["support.prompt"]


def test_what_somebody_saved_since_it_was_read_is_not_overridden(thrift):
    configurations = thrift.configurations
    assert configurations.save("support", {"by": "first"}, active=0).version == 1
    assert configurations.save("support", {"by": "late"}, active=0) is None
    configurations.save("support", {"by": "user"})
    assert configurations.save("support", {"by": "late"}, active=1) is None
    configurations.roll_back("support")
    assert configurations.save("support", {"by": "late"}, active=2, latest=2) is None  # the latest number does not tell
    assert configurations.load("support").value == {"by": "first"}
    assert configurations.save("support", {"by": "in time"}, active=1).version == 3


@shared_databases
def test_of_several_that_go_on_from_one_version_at_once_one_does(any_url):
    opened = [Thrift(any_url) for _ in range(4)]
    opened[0].configurations.save("support", {})
    barrier, saved = threading.Barrier(len(opened)), []

    def save(number: int, thrift: Thrift) -> None:
        barrier.wait(30)
        saved.append(thrift.configurations.save("support", {"by": number}, active=1))

    threads = [threading.Thread(target=save, args=each) for each in enumerate(opened)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    versions_now = opened[0].configurations.versions("support")
    for thrift in opened:
        thrift.close()
    assert sorted(each is None for each in saved) == [False, True, True, True]
    assert [(each.version, each.active) for each in versions_now] == [(2, True), (1, False)]


def test_names_of_configurations_and_routers_do_not_meet(thrift):
    thrift.configurations.save("support", {"a": 1})
    with pytest.raises(ConfigurationError, match="there is no router 'support'; there are: none"):
        thrift.routers.load("support")
    thrift.routers.save(LearnedRouter({"weak": 0.6, "strong": 12.0}), name="support")
    assert thrift.configurations.load("support").value == {"a": 1}
    assert thrift.routers.load("support").default == "strong"


def test_calls_carry_the_version_and_are_judged_by_it(thrift):
    for text in ("Be brief.", "Be rude."):
        thrift.configurations.save("prompt", text)
    for version, quality in ((1, 1.0), (2, 0.0)):
        with thrift.configurations.load("prompt", version).in_use(), attribute(feature="chat"):
            for _ in range(50):
                answer(thrift, quality)
    with thrift.configurations.load("prompt", 2).in_use("config_version"):
        answer(thrift, 0.0)
    scores = {row.value: (row.judged, row.quality.estimate) for row in thrift.quality(by="prompt_version")}
    assert scores == {"prompt@1": (50, 1.0), "prompt@2": (50, 0.0), None: (1, 0.0)}
    found = thrift.configurations.check("prompt", roll_back=True)
    assert (found.verdict, found.rolled_back) == ("lower", True)
    assert thrift.configurations.load("prompt").value == "Be brief."
    with (
        pytest.raises(ConfigurationError, match="attribute_name must be"),
        thrift.configurations.load("prompt").in_use("user"),
    ):
        pass


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"models": {"strong": {"api_key": "anything"}}}, "models.strong.api_key"),
        ({"headers": [{"Authorization": "Bearer x"}]}, r"headers\[0\].Authorization"),
        ({"openai-api-key": "x"}, "openai-api-key"),
        ({"note": "use sk-proj-abcdefghijklmnop1234"}, "note"),
        ("AKIAABCDEFGHIJKLMNOP", "the value"),
        ({"url": "postgresql://ada:lovelace@db/books"}, "url"),
    ],
)
def test_what_looks_like_a_credential_is_refused_and_not_repeated(thrift, value, place):
    with pytest.raises(ConfigurationError, match=f"credential at {place};") as refused:
        thrift.configurations.save("models", value)
    for secret in ("anything", "Bearer", "abcdefghijklmnop1234", "AKIAABC", "lovelace"):
        assert secret not in str(refused.value)
    assert thrift.configurations.names() == []


def test_what_only_resembles_a_credential_is_kept(thrift):
    value = {
        "max_tokens": "200",
        "api_key": "$OPENAI_API_KEY",
        "secretary": "Ada",
        "api_key_name": "",
        "url": "https://example.org/a@b",
        "sk": "sk-1",
    }
    thrift.configurations.save("models", value)
    assert thrift.configurations.load("models").value == value


def test_what_is_no_json_is_refused(thrift):
    circle: list[object] = []
    circle.append(circle)
    for value in ({1: "a"}, {"a": {1, 2}}, float("nan"), (1, 2), circle, b"bytes"):
        with pytest.raises(ConfigurationError, match="must be JSON"):
            thrift.configurations.save("a", value)
    for name in ("", "a\0b", "a@1", None):
        with pytest.raises(ConfigurationError, match="name must be"):
            thrift.configurations.save(name, {})


def test_a_damaged_version_says_how_to_go_on(thrift):
    thrift.configurations.save("a", {"x": 1})
    with thrift.database.write() as connection:
        connection.execute(update(versions).values(state=b"\xff{"))
    with pytest.raises(StorageError, match="version 1 of configuration 'a' cannot be read; roll back"):
        thrift.configurations.load("a")
