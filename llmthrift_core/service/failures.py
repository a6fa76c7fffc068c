"""Errors as OpenAI's clients read them: {"error": {"message", "type", "param", "code", ...}}, and what status they have."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, Final

from fastapi import HTTPException
from starlette.responses import JSONResponse

from llmthrift_core.errors import (
    BudgetExceededError,
    ConfigurationError,
    LLMThriftError,
    NoModelQualifiesError,
    StorageError,
    UnknownModelError,
    place_of,
)

logger = logging.getLogger("llmthrift.service")

_TYPES: Final = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
                 408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error"}  # fmt: skip
_UNITS: Final = ("usd", "tokens", "requests", "tool_calls", "seconds")
_UPSTREAM: Final = 502
_TIMEOUT: Final = 504


class RequestError(HTTPException):
    """A request that cannot be served.

    Attributes:
        status: of the answer.
        message: what was wrong, and what to do.
        param: the field that is meant, or None.
        more: further fields of the error. headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(status, message)
        self.status, self.message, self.param, self.code, self.headers, self.more = status, message, param, code, headers, more


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None, **more: Any) -> dict[str, Any]:
    """The body of an error, in OpenAI's shape."""
    kind = more.pop("type", None) or _TYPES.get(status, "api_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def as_request_error(error: BaseException, *, now: float) -> RequestError:
    """What is answered for a failure. Nothing of a prompt, a credential or an upstream's answer is in it but the upstream's status."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, BudgetExceededError):
        return _refused(error, now)
    if isinstance(error, UnknownModelError):
        return RequestError(404, str(error), param="model", code="model_not_found", closest=list(error.closest))
    if isinstance(error, NoModelQualifiesError):
        return RequestError(400, str(error), code="no_model_qualifies")
    if isinstance(error, ConfigurationError):
        return RequestError(400, str(error))
    if isinstance(error, StorageError):
        return RequestError(503, "the ledger's database cannot be used now; calls that need a budget are refused meanwhile", code="storage",
                            headers={"Retry-After": "5"})  # fmt: skip
    if isinstance(error, LLMThriftError):
        return RequestError(500, str(error))
    return _upstream(error)


def respond(error: BaseException, *, now: float) -> JSONResponse:
    """The answer to a request that failed."""
    found = as_request_error(error, now=now)
    if found.status >= 500:
        logger.error("a request failed with status %d: %s", found.status, place_of(error))
    body = error_body(found.status, found.message, param=found.param, code=found.code, **found.more)
    return JSONResponse(body, status_code=found.status, headers=found.headers)


def _refused(error: BudgetExceededError, now: float) -> RequestError:
    resets = error.resets_at
    wait = None if resets is None else max(int(resets.timestamp() - now) + 1, 1)
    return RequestError(
        429,
        str(error),
        code="budget_exceeded",
        type="budget_exceeded",
        headers=None if wait is None else {"Retry-After": str(wait)},
        **refusal(error),
    )


def refusal(error: BudgetExceededError) -> dict[str, Any]:
    """Why a budget refused: reason, limit, spent, reserved and requested in `unit`, and when it resets."""
    unit = next((unit for unit in _UNITS if getattr(error, f"limit_{unit}", None) is not None), None)

    def amount(name: str) -> float | None:
        found = None if unit is None else getattr(error, f"{name}_{unit}", None)
        return None if found is None else float(found)

    return {
        "reason": f"budget {error.budget!r} has no room",
        "unit": unit,
        **{name: amount(name) for name in ("limit", "spent", "reserved", "requested")},
        "resets_at": None if error.resets_at is None else error.resets_at.isoformat(),
    }


def _upstream(error: BaseException) -> RequestError:
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 500:
        message = f"the provider refused the request with status {status} ({type(error).__name__})"
        wait = getattr(error, "retry_after", None)
        headers = None if wait is None else {"Retry-After": str(math.ceil(wait))}
        return RequestError(status, message, code="upstream", headers=headers)
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return RequestError(_TIMEOUT, "the provider did not answer in time", code="upstream_timeout", type="timeout_error")
    return RequestError(_UPSTREAM, f"the provider failed ({type(error).__name__})", code="upstream")
