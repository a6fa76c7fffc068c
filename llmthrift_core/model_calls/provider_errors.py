"""What the exceptions of providers' clients say: HTTP status, class names, and what led to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

_DEEPEST: Final = 16  # links of a chain of causes


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """An exception and what led to it, as far as it is told."""
    seen: set[int] = set()
    following: Any = error
    while isinstance(following, BaseException) and id(following) not in seen and len(seen) < _DEEPEST:
        seen.add(id(following))
        yield following
        cause = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
        reason = getattr(following, "reason", None)  # urllib's
        following = reason if cause is None and isinstance(reason, BaseException) else cause


def status_of(error: BaseException) -> int | str | None:
    """An HTTP status, or the name of a gRPC one."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore's
        response = response.get("ResponseMetadata")
        status = response.get("HTTPStatusCode") if isinstance(response, Mapping) else None
        return status if _is_status(status) else None
    for holder, name in ((error, "status_code"), (response, "status_code"), (error, "code"), (error, "status"), (response, "status")):
        status = getattr(holder, name, None)
        if _is_status(status):
            return status
    code = getattr(error, "code", None)
    return str(getattr(code(), "name", "")) if callable(code) else None


def _is_status(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600


def names_of(error: BaseException) -> set[str]:
    """The names of its class and of the bases of that."""
    return {kind.__name__ for kind in type(error).__mro__}
