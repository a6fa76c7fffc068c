"""Failures beside a call: each kind is told once, with its place in the application and without what was asked."""

from __future__ import annotations

import json
import logging

import pytest

from llmthrift_core.background.failures import Failures, described, place_in_users_code
from llmthrift_core.errors import ConfigurationError, StorageError

LOGGER = logging.getLogger("llmthrift.test")


def failed(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def of_a_library() -> Exception:
    try:
        json.loads("{")
    except ValueError as error:
        return error
    raise AssertionError


def test_each_kind_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures(LOGGER)
    for _ in range(3):
        for error in (ValueError("x"), KeyError("x")):
            failures.note("policy", failed(error), ())
    assert [record.getMessage().partition(" at ")[0] for record in caplog.records] == [
        "policy failed and was bypassed: ValueError: x",
        "policy failed and was bypassed: KeyError: 'x'",
    ]
    assert failures.counts == {"policy": 6}


def test_kinds_without_end_are_not_remembered(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures(LOGGER)
    for number in range(500):
        failures.note("policy", type(f"E{number}", (Exception,), {})())
    assert len(caplog.records) == 200
    assert failures.counts == {"policy": 500}


def test_the_place_is_the_users_where_a_library_raised() -> None:
    error = of_a_library()
    assert place_in_users_code(error).startswith(f"{__file__}:")
    assert "decoder.py" in described(error)
    assert "Expecting" not in described(error)  # nobody said what is private
    assert "Expecting property name" in described(error, ())


@pytest.mark.parametrize(
    ("error", "private", "told"),
    [
        (KeyError("Who is Mallory?"), ["who is mallory"], "KeyError: 'Who is …?'"),
        (ValueError("no such Zürich 42"), ["Zürich, 42"], "ValueError: no such …"),
        (ValueError("key sk-abcdefghijklmnop1234 is wrong"), [], "ValueError: key … is wrong"),
        (ConfigurationError("policy='x'\nis no policy"), ["hello"], "ConfigurationError: policy='x' is no policy"),
        (RuntimeError("secret"), None, "RuntimeError"),
        (StorageError("no such table"), None, "StorageError: no such table"),
    ],
)
def test_what_was_asked_is_not_told(error: Exception, private: list[str] | None, told: str) -> None:
    assert described(error, private) == told
