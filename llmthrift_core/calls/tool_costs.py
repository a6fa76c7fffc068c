"""`thrift.costs`: what a function costs each time that it is called, recorded where it happens."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from decimal import Decimal
from functools import partial, wraps
from typing import Any, TypeVar, cast

from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.money import to_nano_usd

Function = TypeVar("Function", bound=Callable[..., Any])
Amount = Decimal | float | int | str
Record = Callable[[str, Amount], object]


def costing(
    record: Record, usd: Amount | Callable[[Any], Amount | None], kind: str | None, *, on_error: bool
) -> Callable[[Function], Function]:
    """A decorator whose function records a cost with each call: when it has returned, and of a generator when it begins.

    Args:
        record: takes the kind and the US dollars.
        usd: dollars a call, or a function of the result that tells them; None of it records nothing.
        kind: what the cost is called; None takes the function's name.
        on_error: a call that raised costs as much; for a `usd` that is a function, nothing is known then.

    Raises:
        ConfigurationError: dollars that are none, or a generator whose dollars depend on a result.
    """
    if not callable(usd) and to_nano_usd(usd) < 0:
        raise ConfigurationError(f"usd must not be negative, and is {usd!r}")

    def decorated(function: Function) -> Function:
        name: str = kind or getattr(function, "__name__", None) or type(function).__name__
        if not callable(usd):
            wrapped = _fixed(function, partial(record, name, usd), on_error=on_error)
        elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"{name} is a generator: give usd= as an amount, or call thrift.record_cost inside")
        else:
            wrapped = _by_result(function, partial(_record_of, record, name, usd))
        return cast("Function", wraps(function)(wrapped))

    return decorated


def _fixed(function: Callable[..., Any], recorded: Callable[[], object], *, on_error: bool) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):

        async def pieces(*given: Any, **options: Any) -> AsyncGenerator[Any, None]:
            await in_thread(recorded)
            async for piece in function(*given, **options):
                yield piece

        return pieces
    if inspect.isgeneratorfunction(function):

        def parts(*given: Any, **options: Any) -> Generator[Any, Any, Any]:
            recorded()
            return (yield from function(*given, **options))

        return parts
    if inspect.iscoroutinefunction(function):

        async def awaited(*given: Any, **options: Any) -> Any:
            try:
                result = await function(*given, **options)
            except Exception:
                if on_error:
                    await in_thread(recorded)
                raise
            await in_thread(recorded)
            return result

        return awaited

    def called(*given: Any, **options: Any) -> Any:
        try:
            result = function(*given, **options)
        except Exception:
            if on_error:
                recorded()
            raise
        recorded()
        return result

    return called


def _by_result(function: Callable[..., Any], recorded: Callable[[Any], object]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        async def awaited(*given: Any, **options: Any) -> Any:
            result = await function(*given, **options)
            await in_thread(partial(recorded, result))
            return result

        return awaited

    def called(*given: Any, **options: Any) -> Any:
        result = function(*given, **options)
        recorded(result)
        return result

    return called


def _record_of(record: Record, kind: str, usd: Callable[[Any], Amount | None], result: Any) -> None:
    if (amount := usd(result)) is not None:
        record(kind, amount)
