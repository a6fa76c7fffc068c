"""Arguments that are easily mistaken: every door says at once what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from llama_index.core import MockEmbedding
from llama_index.core.llms import MockLLM

import llmthrift_core
import llmthrift_langchain as langchain
import llmthrift_llamaindex as llamaindex
from llmthrift_core import Thrift, attribute
from llmthrift_core.cache import FixedThreshold, SemanticCache
from llmthrift_core.errors import ConfigurationError

_MODEL, _LLM = FakeListChatModel(responses=["one"]), MockLLM(max_tokens=1)
_DOORS = {
    "handler": langchain.ThriftCallbackHandler,
    "cache": langchain.ThriftCache,
    "router": lambda thrift: langchain.ChatRouter(thrift, models={"only": _MODEL}),
    "thrifty": lambda thrift: langchain.thrifty(_MODEL, thrift),
    "middleware": langchain.ThriftMiddleware,
    "embeddings": lambda thrift: langchain.ThriftEmbeddings(thrift, DeterministicFakeEmbedding(size=3)),
    "event handler": llamaindex.ThriftEventHandler,
    "RouterLLM": lambda thrift: llamaindex.RouterLLM(thrift, models={"only": _LLM}),
    "thrifty LLM": lambda thrift: llamaindex.thrifty(_LLM, thrift),
    "embedding": lambda thrift: llamaindex.ThriftEmbedding(thrift, MockEmbedding(embed_dim=3)),
    "semantic cache": SemanticCache,
}


@pytest.mark.parametrize(
    "given", ["postgresql://ada:s3cret@host/ledger", Path("ledger.db"), None, 7], ids=lambda given: type(given).__name__
)
@pytest.mark.parametrize("door", _DOORS)
def test_what_is_no_thrift_is_refused_and_not_shown(door, given):
    with pytest.raises(ConfigurationError, match=r"takes a Thrift, not .* first: thrift = Thrift\(") as refused:
        _DOORS[door](given)
    assert "s3cret" not in str(refused.value)


def _takers() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Everything public that takes a `thrift`, whichever package it is in."""
    rooms = [f"llmthrift_core.{each.name}" for each in iter_modules(llmthrift_core.__path__) if each.ispkg]
    for package in ("llmthrift_core", *rooms, "llmthrift_langchain", "llmthrift_llamaindex"):
        module = import_module(package)
        for name in getattr(module, "__all__", ()):
            found = getattr(module, name)
            try:
                parameters = signature(found).parameters if callable(found) else {}
            except (TypeError, ValueError):  # no signature
                continue
            if "thrift" in parameters and name != "invalidate_by_notice":  # which takes whatever can invalidate
                yield name, found


_TAKERS = dict(_takers())


def _entered(made: Any) -> None:
    """Enter what was made: a context manager of a function checks its arguments when it is entered."""
    with made:
        pass


@pytest.mark.parametrize("name", _TAKERS)
def test_whatever_takes_a_thrift_refuses_an_address_before_anything_else(name):
    required = [
        each
        for each in signature(_TAKERS[name]).parameters.values()
        if each.default is each.empty and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]
    given = {**{each.name: object() for each in required}, "thrift": "postgresql://ada:s3cret@host/ledger"}
    with pytest.raises(ConfigurationError, match=r"takes a Thrift, not the address") as refused:
        _entered(_TAKERS[name](**given))
    assert "s3cret" not in str(refused.value)


def test_there_are_many_that_take_a_thrift():
    assert {"Batches", "Evaluation", "Experiment", "QualityGuard", "RouterVersions", "Sticky", "ChatRouter", "RouterLLM"} <= set(_TAKERS)


def test_a_clock_is_a_function():
    with pytest.raises(ConfigurationError, match=r"clock must be a function .* not 5"):
        Thrift(":memory:", clock=5)


def test_a_number_is_a_threshold(tmp_path):
    with Thrift(tmp_path / "thresholds.db") as thrift:
        for number, made in enumerate(
            (
                SemanticCache(thrift, policy=0.9),
                langchain.ThriftCache(thrift, semantic=0.9).semantic,
                llamaindex.RouterLLM(thrift, models={"only": _LLM}, semantic=0.9)._behind.answers.semantic,
            )
        ):
            assert isinstance(made.policy, FixedThreshold), number
            assert made.policy.threshold == 0.9


def test_the_class_is_no_thrift():
    with pytest.raises(ConfigurationError, match=r"takes a Thrift, not the class Thrift; make one first"):
        SemanticCache(Thrift)  # type: ignore[arg-type]


@pytest.mark.parametrize("models", [[_MODEL], "gpt-4o", None, {}])
@pytest.mark.parametrize("router", [langchain.ChatRouter, llamaindex.RouterLLM])
def test_a_router_says_how_its_models_are_given(tmp_path, router, models):
    with Thrift(tmp_path / "tiers.db") as thrift, pytest.raises(ConfigurationError, match=r'cheapest first: models=\{"simple": cheap'):
        router(thrift, models=models)


@pytest.mark.parametrize("name", ["metadata", "require"])
def test_a_text_is_no_mapping(tmp_path, name):
    with Thrift(tmp_path / "mappings.db") as thrift, pytest.raises(ConfigurationError, match=f"{name} must be a mapping .*'v3'"):
        langchain.ThriftCache(thrift, **{name: "v3"})


def test_tags_are_a_mapping():
    with pytest.raises(ConfigurationError, match="tags must be a mapping"), attribute(tags="search"):
        pass


@pytest.mark.parametrize("switch", ["LLMTHRIFT_OBSERVE", "LLMTHRIFT_DISABLED", "LLMTHRIFT_METER", "LLMTHRIFT_FLUSH_ON_SIGTERM"])
def test_a_switch_that_says_neither_yes_nor_no_is_refused(monkeypatch, switch):
    monkeypatch.setenv(switch, "maybe")
    with pytest.raises(ConfigurationError, match=f"{switch}='maybe' says neither yes nor no"):
        Thrift(":memory:")
