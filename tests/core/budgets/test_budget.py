"""A budget says what it limits, and refuses what makes no sense."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmthrift_core import Budget
from llmthrift_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("budget", "name"),
    [
        (Budget(limit_usd=10, window="day", per="user"), "usd per user a day"),
        (Budget(limit_tokens=32_000, window="request"), "tokens a single request"),
        (Budget(limit_requests=5, limit_usd=1, window="hour", per=["team", "user"]), "usd and requests per team, user an hour"),
        (Budget(limit_usd=1, match={"feature": "chat"}), "usd where feature=chat"),
        (Budget(limit_usd=1, name="mine"), "mine"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_tell_budgets_apart(budget, name):
    assert budget.name == name


def test_a_limit_is_exact_money():
    assert Budget(limit_usd=0.1).limit_nano_usd == 100_000_000
    assert Budget(limit_usd="0.0000000015").limit_usd == Decimal("2E-9")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs limit_usd"),
        ({"limit_usd": -1}, "limit_usd must be from 0"),
        ({"limit_usd": "NaN"}, "not an amount"),
        ({"limit_usd": "ten"}, "not an amount"),
        ({"limit_tokens": 1.5}, "limit_tokens must be a whole number"),
        ({"limit_tokens": True}, "limit_tokens must be a whole number"),
        ({"limit_requests": -1}, "limit_requests must be a whole number"),
        ({"limit_usd": 1, "window": "fortnight"}, "window must be one of"),
        ({"limit_usd": 1, "on_exceed": "explode"}, "on_exceed must be one of"),
        ({"limit_usd": 1, "unpriced": "maybe"}, "unpriced must be one of"),
        ({"limit_usd": 1, "tz": "Mars/Olympus"}, "tz='Mars/Olympus' is not a time zone"),
        ({"limit_usd": 1, "tz": "../etc/passwd"}, "is not a time zone"),
        ({"limit_usd": 1, "tz": ""}, "is not a time zone"),
        ({"limit_usd": 1, "per": 7}, "per must be"),
        ({"limit_usd": 1, "per": ["a\0b"]}, "per must be names"),
        ({"limit_usd": 1, "match": ["feature"]}, "match must map"),
        ({"limit_usd": 1, "match": {"user": 5}}, "match must map"),
        ({"limit_usd": 1, "name": "\ud800"}, "name must be a text"),
        ({"limit_usd": 1, "name": "x" * 201}, "name must be a text"),
        ({"limit_usd": 1, "max_wait_seconds": -1}, "max_wait_seconds must be"),
        ({"limit_usd": 1, "alert_at": [80]}, "alert_at must be shares"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Budget(**options)
