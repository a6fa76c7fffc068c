"""`thrift.costs`: what a function costs each time that it is called, set aside before and recorded where it happens."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from llmthrift_core.attribution import attribution_of, current_attribution
from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.calls.refusals import NOT_DONE, OnBudget, check_on_budget
from llmthrift_core.errors import BudgetExceededError, ConfigurationError
from llmthrift_core.ledger.paths import surroundings
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.money import to_nano_usd
from llmthrift_core.settings import is_disabled, is_observing

if TYPE_CHECKING:
    from llmthrift_core.budgets import Budgets
    from llmthrift_core.budgets.hold import Hold

Function = TypeVar("Function", bound=Callable[..., Any])
Amount = Decimal | float | int | str


class Whole(Protocol):
    """The whole, as far as costs need it."""

    @property
    def ledger(self) -> Any: ...

    @property
    def budgets(self) -> Budgets: ...

    def note_failure(self, where: str, error: BaseException) -> None: ...


def record_cost(whole: Whole, kind: str, usd: Amount, hold: Hold | None = None, *, at: Moment | None = None, **attribution: Any) -> str:
    """Record a cost that is not a model call. Budgets count it as spent: in place of what was set aside for it, or beside all that is.

    Raises:
        As `Ledger.record_cost`.
    """
    request_id: str = whole.ledger.record_cost(kind, usd, at=at, **attribution)
    if not is_disabled() and not is_observing():
        try:
            if hold is not None and hold.id is not None and to_nano_usd(usd) > 0:
                hold.settle(cost_usd=usd)
            elif (nano_usd := to_nano_usd(usd)) > 0:
                at_us = None if at is None else to_us(at)
                whole.budgets.spend(_spender(attribution), nano_usd=nano_usd, spending_id=f"cost:{request_id}", at_us=at_us)
        except Exception as error:  # it is recorded
            whole.note_failure("budgets", error)
    return request_id


@dataclass(frozen=True, slots=True)
class Charge:
    """A decorator: each call of the function costs something.

    Attributes:
        whole: the ledger and the budgets.
        usd: dollars a call, or a function of the result that tells them; None of it records nothing.
        up_to_usd: what is set aside where the result tells the dollars; None: nothing.
        kind: what the cost is called; None takes the function's name.
        on_error: a call that raised costs as much; for a `usd` that is a function, nothing is known then.
        on_budget: what a refusal does.
        attribution: for whom it is recorded; what is missing is the surrounding attribution's.

    Raises:
        ConfigurationError: dollars that are none, `up_to_usd` beside a fixed amount, or an unknown `on_budget`.
    """

    whole: Whole
    usd: Amount | Callable[[Any], Amount | None]
    up_to_usd: Amount | None
    kind: str | None
    on_error: bool
    on_budget: OnBudget
    attribution: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_on_budget(self.on_budget)
        for name in ("usd", "up_to_usd"):
            amount = getattr(self, name)
            if amount is not None and not callable(amount) and to_nano_usd(amount) < 0:
                raise ConfigurationError(f"{name} must not be negative, and is {amount!r}")
        if self.up_to_usd is not None and not callable(self.usd):
            raise ConfigurationError(f"up_to_usd={self.up_to_usd!r} is for a usd that is a function of the result, not for {self.usd!r}")

    def __call__(self, function: Function) -> Function:
        """The function, whose cost is recorded when it has returned, and of a generator when it begins.

        Raises:
            ConfigurationError: a generator whose dollars depend on a result.
        """
        begun = partial(_Call, self, self.kind or getattr(function, "__name__", None) or type(function).__name__)
        is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        if is_generator and callable(self.usd):
            raise ConfigurationError(f"{function.__name__} is a generator: give usd= as an amount, or call thrift.record_cost inside")
        if inspect.isasyncgenfunction(function):
            wrapped = _async_generator(function, begun)
        elif is_generator:
            wrapped = _generator(function, begun)
        else:
            wrapped = _coroutine(function, begun) if inspect.iscoroutinefunction(function) else _plain(function, begun)
        return cast("Function", wraps(function)(wrapped))


class _Call:
    """One call of a function: what is set aside for it until it is recorded or, where nothing is to be paid, given back."""

    def __init__(self, charge: Charge, kind: str) -> None:
        self._charge = charge
        self._kind = kind
        self._hold: Hold | None = None

    def begin(self) -> bool:
        """Set aside what it costs. False: a budget refuses it, and it is to be answered for."""
        charge = self._charge
        most = charge.up_to_usd if callable(charge.usd) else charge.usd
        if most is not None and not is_disabled() and not is_observing():
            try:
                self._hold = charge.whole.budgets.hold_cost(_spender(charge.attribution), most)
            except BudgetExceededError:
                if charge.on_budget == "raise":
                    raise
                return False
        return True

    def end(self, result: Any = None) -> None:
        """Record what it cost."""
        charge = self._charge
        try:
            usd = charge.usd(result) if callable(charge.usd) else charge.usd
            if usd is not None:
                record_cost(charge.whole, self._kind, usd, self._hold, **charge.attribution)
        finally:
            self._release()

    def fail(self, error: BaseException) -> None:
        """It raised."""
        if self._charge.on_error and isinstance(error, Exception) and not callable(self._charge.usd):
            self.end()
        else:
            self._release()

    async def afail(self, error: BaseException) -> None:
        """As `fail`, off the event loop where that can be waited for: a coroutine that is thrown away must not wait any more."""
        if isinstance(error, Exception | asyncio.CancelledError):
            await in_thread(partial(self.fail, error))
        else:
            self.fail(error)

    def _release(self) -> None:
        if self._hold is not None:
            self._hold.release()  # does nothing after a settlement


def _plain(function: Callable[..., Any], begun: Callable[[], _Call]) -> Callable[..., Any]:
    def called(*given: Any, **options: Any) -> Any:
        call = begun()
        if not call.begin():
            return NOT_DONE
        try:
            result = function(*given, **options)
        except BaseException as error:
            call.fail(error)
            raise
        call.end(result)
        return result

    return called


def _coroutine(function: Callable[..., Any], begun: Callable[[], _Call]) -> Callable[..., Any]:
    async def awaited(*given: Any, **options: Any) -> Any:
        call = begun()
        try:
            if not await in_thread(call.begin):
                return NOT_DONE
            result = await function(*given, **options)
        except BaseException as error:
            await call.afail(error)
            raise
        await in_thread(partial(call.end, result))
        return result

    return awaited


def _generator(function: Callable[..., Any], begun: Callable[[], _Call]) -> Callable[..., Any]:
    def parts(*given: Any, **options: Any) -> Generator[Any, Any, Any]:
        call = begun()
        if not call.begin():
            yield NOT_DONE
            return None
        call.end()
        return (yield from function(*given, **options))

    return parts


def _async_generator(function: Callable[..., Any], begun: Callable[[], _Call]) -> Callable[..., Any]:
    async def pieces(*given: Any, **options: Any) -> AsyncGenerator[Any, None]:
        call = begun()
        try:
            may_begin = await in_thread(call.begin)
        except BaseException as error:
            await call.afail(error)
            raise
        if not may_begin:
            yield NOT_DONE
            return
        await in_thread(call.end)
        async for piece in function(*given, **options):
            yield piece

    return pieces


def _spender(attribution: Mapping[str, Any]) -> Scope:
    """For whom a cost is recorded: what is given, what the surrounding run says, and the surrounding attribution.

    The outermost run stands for a run that is not named.
    """
    given = {name: value for name, value in attribution.items() if name not in ("request_id", "tags", "at")}
    who, around = attribution_of(attribution.get("tags"), **given), surroundings()
    if around is not None:
        who = who.over(around.attribution)
    return Scope(who.over(current_attribution()), None, None if around is None else around.trace_id)
