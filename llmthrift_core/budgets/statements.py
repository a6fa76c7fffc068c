"""The statements of budgets. Money moves only where a WHERE clause says that it may: nothing is read first and written later."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Text, and_, bindparam, cast, delete, func, literal_column, not_, or_, select, update

from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import budget_holds, budget_windows, budgets

_budget, _window, _hold = budgets.c, budget_windows.c, budget_holds.c
_zero: Any = literal_column("0")
UNITS: Final = ("nano_usd", "tokens", "requests")


def _amount(name: str) -> Any:
    return cast(bindparam(name), BigInteger)


def _text(value: str) -> Any:
    return literal_column(f"'{value}'")


def _fits(limit: Any, used: Any, amount: Any) -> Any:
    """What costs nothing passes, even where a limit was overrun."""
    return or_(limit.is_(None), amount == _zero, used <= limit)


def _open_window(insert: Any) -> tuple[Any, Any]:
    """An INSERT of a window that begins with a reservation, from the budget's row, and the SELECT behind it."""
    row = {
        "budget": cast(bindparam("budget"), Text),
        "scope": cast(bindparam("scope"), Text),
        "start_us": _amount("start_us"),
        "resets_us": _amount("resets_us"),
        **{f"spent_{unit}": _zero for unit in UNITS},
        **{f"reserved_{unit}": _amount(unit) for unit in UNITS},
        "overrun_nano_usd": _zero,
        "overrun_tokens": _zero,
        "alerted": _zero,
    }
    return insert(budget_windows), (list(row), select(*row.values()).where(_budget.name == bindparam("of_budget")))


def _open_if_it_fits(insert: Any) -> Any:
    made, (names, source) = _open_window(insert)
    source = source.where(*(_fits(budgets.c[f"limit_{unit}"], _amount(f"of_{unit}"), _amount(f"no_{unit}")) for unit in UNITS))
    return made.from_select(names, source).on_conflict_do_nothing(index_elements=["budget", "scope", "start_us"])


def _reserve_anyway(insert: Any) -> Any:
    made, (names, source) = _open_window(insert)
    made = made.from_select(names, source)
    grown = {name: budget_windows.c[name] + made.excluded[name] for name in (f"reserved_{unit}" for unit in UNITS)}
    return made.on_conflict_do_update(index_elements=["budget", "scope", "start_us"], set_=grown)


def _fits_now(window: bool) -> list[Any]:
    used = {unit: budget_windows.c[f"spent_{unit}"] + budget_windows.c[f"reserved_{unit}"] if window else _zero for unit in UNITS}
    return [_fits(budgets.c[f"limit_{unit}"], used[unit] + _amount(f"of_{unit}"), _amount(f"no_{unit}")) for unit in UNITS]


# Set amounts aside in an open window if they fit. The limit comes from the budget's row, in the same statement: a changed limit
# holds at once, in every process.
RESERVE: Final = Statement(
    update(budget_windows)
    .values({f"reserved_{unit}": budget_windows.c[f"reserved_{unit}"] + bindparam(unit) for unit in UNITS})
    .where(
        _window.budget == bindparam("of_budget"),
        _window.scope == bindparam("of_scope"),
        _window.start_us == bindparam("of_start_us"),
        select(literal_column("1")).where(_budget.name == bindparam("of_name"), *_fits_now(window=True)).correlate(budget_windows).exists(),
    )
)
# A row where RESERVE would do nothing because a window is full, unless the hold was made before.
IS_FULL: Final = Statement(
    select(literal_column("1")).where(
        _window.budget == bindparam("of_budget"),
        _window.scope == bindparam("of_scope"),
        _window.start_us == bindparam("of_start_us"),
        _budget.name == bindparam("of_name"),
        not_(and_(*_fits_now(window=True))),
        ~select(literal_column("1")).where(_hold.id == bindparam("of_id")).exists(),
    )
)
# The first reservation in a window, if it fits; nothing where the window is open already.
OPEN_WINDOW: Final = Statement(_open_if_it_fits)
# For budgets that only warn.
RESERVE_ANYWAY: Final = Statement(_reserve_anyway)
# For the window "request", of which no row is kept.
FITS_ONE_REQUEST: Final = Statement(select(literal_column("1")).where(_budget.name == bindparam("of_name"), *_fits_now(window=False)))
# A window that begins with what was spent before its budget was there.
BEGIN_WINDOW: Final = Statement(
    lambda insert: (
        insert(budget_windows)
        .values(
            budget=bindparam("budget"),
            scope=bindparam("scope"),
            start_us=bindparam("start_us"),
            resets_us=bindparam("resets_us"),
            **{f"spent_{unit}": bindparam(f"spent_{unit}") for unit in UNITS},
            **{f"reserved_{unit}": _zero for unit in UNITS},
            overrun_nano_usd=bindparam("overrun_nano_usd"),
            overrun_tokens=bindparam("overrun_tokens"),
            alerted=_zero,
        )
        .on_conflict_do_nothing(index_elements=["budget", "scope", "start_us"])
    )
)
# Settle and release: what was set aside goes, what was used comes.
MOVE: Final = Statement(
    update(budget_windows)
    .values(
        **{f"spent_{unit}": budget_windows.c[f"spent_{unit}"] + bindparam(unit) for unit in UNITS},
        **{f"reserved_{unit}": budget_windows.c[f"reserved_{unit}"] - bindparam(f"held_{unit}") for unit in UNITS},
        overrun_nano_usd=_window.overrun_nano_usd + bindparam("over_nano_usd"),
        overrun_tokens=_window.overrun_tokens + bindparam("over_tokens"),
    )
    .where(_window.budget == bindparam("of_budget"), _window.scope == bindparam("of_scope"), _window.start_us == bindparam("of_start_us"))
    .returning(_window.spent_nano_usd, _window.spent_tokens, _window.spent_requests, _window.alerted, _window.resets_us)
)
MARK_ALERTED: Final = Statement(
    update(budget_windows)
    .values(alerted=bindparam("share"))
    .where(
        _window.budget == bindparam("of_budget"),
        _window.scope == bindparam("of_scope"),
        _window.start_us == bindparam("of_start_us"),
        _window.alerted < bindparam("below"),
    )
)

ADD_HOLD: Final = Statement(
    lambda insert: (
        insert(budget_holds)
        .values(
            id=bindparam("id"),
            state=_text("held"),
            parts=bindparam("parts"),
            nano_usd=bindparam("nano_usd"),
            tokens=bindparam("tokens"),
            created_us=bindparam("created_us"),
            expires_us=bindparam("expires_us"),
        )
        .on_conflict_do_nothing(index_elements=["id"])
    )
)


def _end_hold(before: str) -> Statement:
    # Only the state says whether money still has to move: of two settlements, or a settlement and a release, one finds nothing.
    return Statement(
        update(budget_holds)
        .values(state=bindparam("state"))
        .where(_hold.id == bindparam("of_id"), _hold.state == _text(before))
        .returning(_hold.parts, _hold.nano_usd, _hold.tokens)
    )


END_HELD: Final = _end_hold("held")
END_EXPIRED: Final = _end_hold("expired")
GET_HOLD: Final = Statement(
    select(_hold.state, _hold.parts, _hold.nano_usd, _hold.tokens).where(_hold.id == bindparam("of_id")).with_for_update()
)
GROW_HOLD: Final = Statement(
    update(budget_holds)
    .values(
        state=_text("held"),
        nano_usd=_hold.nano_usd + bindparam("more_nano_usd"),
        tokens=_hold.tokens + bindparam("more_tokens"),
        expires_us=bindparam("expires_us"),
    )
    .where(_hold.id == bindparam("of_id"))
)
RENEW_HOLD: Final = Statement(
    update(budget_holds).values(expires_us=bindparam("until_us")).where(_hold.id == bindparam("of_id"), _hold.state == _text("held"))
)
NEWEST_HOLD: Final = Statement(
    select(_hold.expires_us)
    .where(_hold.state == bindparam("state"), _hold.expires_us < bindparam("before_us"))
    .order_by(_hold.expires_us.desc())
    .limit(literal_column("1"))
    .offset(_zero)
)
NEWEST_WINDOW: Final = Statement(
    select(func.max(_window.start_us)).where(_window.start_us < bindparam("before_us"), _window.start_us > _zero)
)
FIND_EXPIRED: Final = Statement(
    select(_hold.id)
    .where(_hold.state == _text("held"), _hold.expires_us <= bindparam("now_us"))
    .order_by(_hold.expires_us)
    .limit(bindparam("most"))
    .offset(_zero)
)
GET_HOLDS: Final = Statement(
    select(_hold.id, _hold.parts, _hold.nano_usd, _hold.tokens, _hold.created_us, _hold.expires_us)
    .where(_hold.state == _text("held"))
    .order_by(_hold.created_us, _hold.id)
)
FORGET_ENDED: Final = Statement(delete(budget_holds).where(_hold.state == bindparam("state"), _hold.expires_us < bindparam("before_us")))
FORGET_WINDOWS: Final = Statement(delete(budget_windows).where(_window.resets_us < bindparam("before_us")))
GET_BUDGETS: Final = Statement(
    select(_budget.name, _budget.limit_nano_usd, _budget.limit_tokens, _budget.limit_requests, _budget.settings).order_by(_budget.name)
)
PUT_BUDGET: Final = Statement(
    lambda insert: (made := insert(budgets).values({name: bindparam(name) for name in budgets.c.keys()})).on_conflict_do_update(  # noqa: SIM118
        index_elements=["name"],
        set_={name: made.excluded[name] for name in budgets.c.keys() if name != "name"},  # noqa: SIM118
    )
)
REMOVE_BUDGET: Final = Statement(delete(budgets).where(_budget.name == bindparam("name")))
REMOVE_WINDOWS: Final = Statement(delete(budget_windows).where(_window.budget == bindparam("name")))
# Forgetting a user. Holds are locked first, so that no settlement looks for a window under its old name.
PARTS_OF_HOLDS: Final = Statement(select(_hold.id, _hold.parts).with_for_update())
RENAME_PARTS: Final = Statement(update(budget_holds).values(parts=bindparam("parts")).where(_hold.id == bindparam("of_id")))
KEYS_OF_WINDOWS: Final = Statement(select(_window.budget, _window.scope, _window.start_us))
RENAME_WINDOW: Final = Statement(
    update(budget_windows)
    .values(scope=bindparam("scope"))
    .where(_window.budget == bindparam("of_budget"), _window.scope == bindparam("of_scope"), _window.start_us == bindparam("of_start_us"))
)
GET_WINDOW: Final = Statement(
    select(
        _window.spent_nano_usd,
        _window.spent_tokens,
        _window.spent_requests,
        _window.reserved_nano_usd,
        _window.reserved_tokens,
        _window.reserved_requests,
        _window.resets_us,
    ).where(_window.budget == bindparam("of_budget"), _window.scope == bindparam("of_scope"), _window.start_us == bindparam("of_start_us"))
)
