"""Tiers are ordered and limited; failures that another model can cure fall back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from llmthrift_core.errors import BudgetExceededError, ConfigurationError
from llmthrift_core.routing import Tiers, fallback_order, fallback_reason

PRICES = {"small": "economy", "medium": "standard", "large": "premium"}
TIERS = Tiers(("small", "medium", "large"), PRICES.get)


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [
        (None, ("small", "medium", "large")),
        ("small", ("small",)),
        ("medium", ("small", "medium")),
        ("economy", ("small",)),
        ("standard", ("small", "medium")),
        ("premium", ("small", "medium", "large")),
    ],
)
def test_a_maximum_never_yields_more(limit, allowed):
    assert TIERS.at_most(limit).names == allowed


def test_a_model_without_a_price_belongs_to_no_price_class():
    assert Tiers(("small", "unknown"), PRICES.get).at_most("premium").names == ("small",)


def test_a_maximum_that_allows_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="allows none of the tiers large"):
        Tiers(("large",), PRICES.get).at_most("economy")
    with pytest.raises(ConfigurationError, match="neither a tier"):
        TIERS.at_most("huge")


def test_the_order_of_fallbacks_is_upwards_then_downwards_each_once():
    for failed in TIERS.names:
        order = fallback_order(TIERS, failed)
        assert sorted((*order, failed)) == sorted(TIERS.names)
    assert fallback_order(TIERS, "small") == ("medium", "large")
    assert fallback_order(TIERS, "large") == ("medium", "small")
    assert fallback_order(TIERS, "elsewhere") == TIERS.names


def error(name: str, text: str = "", **attributes: object) -> Exception:
    made: Exception = type(name, (Exception,), {})(text)
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def of_bedrock(code: str, status: int, message: str = "said so"):
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Converse")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (error("RateLimitError", status_code=429), "rate limit"),
        (error("ResourceExhausted"), "rate limit"),
        (error("HTTPStatusError", response=SimpleNamespace(status_code=429)), "rate limit"),
        (error("APITimeoutError"), "timeout"),
        (TimeoutError(), "timeout"),
        (error("InternalServerError", status_code=500), "outage"),
        (error("OverloadedError", status_code=529), "outage"),
        (error("APIConnectionError"), "outage"),
        (ConnectionRefusedError(), "outage"),
        (error("BadRequestError", "This model's maximum context length is 8192 tokens", status_code=400), "context length"),
        (error("RequestTooLarge", status_code=413), "context length"),
        (error("BadRequestError", "unknown parameter", status_code=400), None),
        (of_bedrock("ThrottlingException", 429), "rate limit"),
        (of_bedrock("ServiceUnavailableException", 503), "outage"),
        (of_bedrock("ModelTimeoutException", 408), "timeout"),
        (of_bedrock("ValidationException", 400, "Input is too long for requested model."), "context length"),
        (of_bedrock("AccessDeniedException", 403), None),
        (error("AioRpcError", code=lambda: SimpleNamespace(name="UNAVAILABLE")), "outage"),
        (error("AuthenticationError", status_code=401), None),
        (error("PermissionDenied", status_code=403), None),
        (ValueError("the reader's own"), None),
        (BudgetExceededError("refused"), None),
        (KeyboardInterrupt(), None),
        (asyncio.CancelledError(), None),
        (GeneratorExit(), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_which_failures_deserve_another_model(failure, reason):
    assert fallback_reason(failure) == reason
