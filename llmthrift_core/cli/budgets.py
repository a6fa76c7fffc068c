"""`llmthrift budgets`: what may be spent, and what is left of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

import typer

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.planning import Group, design
from llmthrift_core.cli.options import Url, ValkeyUrl, opened, pair
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, show_table, write_rows
from llmthrift_core.display import counted, usd
from llmthrift_core.thrift import Thrift

_NO_BUDGETS: Final = "There are no budgets; make one with `llmthrift budgets set`."
_AMOUNTS: Final = ("limit", "spent", "reserved", "remaining", "overrun")

budgets = typer.Typer(no_args_is_help=True, help="Limits on spending: keep, look at and design them.")


@budgets.command("list")
def list_budgets(url: Url = None, valkey_url: ValkeyUrl = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Every budget and its limits."""
    with opened(url, valkey_url=valkey_url) as thrift:
        kept = thrift.budgets.all()
    if not write_rows([_described(budget) for budget in kept], as_json=as_json, as_csv=as_csv):
        if kept:
            show_table(["budget", "limits", "window", "per", "match", "on exceed"], [_row(budget) for budget in kept])
        else:
            show(_NO_BUDGETS)
    end(kept)


@budgets.command("set")
def set_budget(
    name: Annotated[str | None, typer.Option(help="Replaces the budget of this name; default: made of window, per and match")] = None,
    limit_usd: Annotated[str | None, typer.Option("--usd", help="US dollars")] = None,
    limit_tokens: Annotated[int | None, typer.Option("--tokens", help="Input and output tokens")] = None,
    limit_requests: Annotated[int | None, typer.Option("--requests", help="Model attempts")] = None,
    limit_tool_calls: Annotated[int | None, typer.Option("--tool-calls", help="Tool calls that answers ask for")] = None,
    limit_seconds: Annotated[float | None, typer.Option("--seconds", help="Wall time since the first call; needs --per")] = None,
    window: Annotated[str, typer.Option(help="request, minute, hour, day, week, month or total")] = "total",
    per: Annotated[list[str] | None, typer.Option(help="Counted apart by: user, feature, session, run, model, a tag; repeatable")] = None,
    match: Annotated[list[str] | None, typer.Option(help="NAME=VALUE: only calls with it; repeatable")] = None,
    on_exceed: Annotated[str, typer.Option(help="block, downgrade, queue or warn")] = "block",
    tz: Annotated[str, typer.Option(help="Time zone of days, weeks and months")] = "UTC",
    unpriced: Annotated[str, typer.Option(help="refuse or allow models without a price")] = "refuse",
    on_store_error: Annotated[str, typer.Option(help="block or allow calls while the budgets cannot be reached")] = "block",
    clamp_output: Annotated[bool, typer.Option(help="Shorten answers to what is left, rather than refuse")] = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """Keep a budget, or change the one of the same name. Takes effect at once, in every process."""
    budget = Budget(
        limit_usd=limit_usd,
        limit_tokens=limit_tokens,
        limit_requests=limit_requests,
        limit_tool_calls=limit_tool_calls,
        limit_seconds=limit_seconds,
        window=window,  # type: ignore[arg-type]
        per=per or (),
        match=dict(pair(text, option="--match") for text in match or []),
        on_exceed=on_exceed,  # type: ignore[arg-type]
        name=name or "",
        tz=tz,
        unpriced=unpriced,  # type: ignore[arg-type]
        on_store_error=on_store_error,  # type: ignore[arg-type]
        clamp_output=clamp_output,
    )
    with Thrift(url, valkey_url=valkey_url) as thrift:
        thrift.budgets.add(budget)
    show(f"kept budget {budget.name!r}: {_limits(budget)}")


@budgets.command()
def remove(name: str, url: Url = None, valkey_url: ValkeyUrl = None) -> None:
    """Forget a budget and what was counted for it."""
    with opened(url, valkey_url=valkey_url) as thrift:
        if not thrift.budgets.remove(name):
            kept = ", ".join(repr(budget.name) for budget in thrift.budgets.all()) or "none"
            raise typer.BadParameter(f"there is no budget {name!r}; there are: {kept}")
    show(f"removed budget {name!r}")


@budgets.command()
def status(
    scope: Annotated[list[str] | None, typer.Option(help="NAME=VALUE: only this spender; repeatable")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """What is spent, reserved and left in the windows of now."""
    pairs = dict(pair(text, option="--scope") for text in scope or [])
    with opened(url, valkey_url=valkey_url) as thrift:
        rows = thrift.budgets.status(pairs or None)
        apart = {budget.name for budget in thrift.budgets.all() if budget.per}
    if not write_rows(rows, as_json=as_json, as_csv=as_csv):
        if rows:
            _show_status(rows, apart)
        else:
            show("There is no budget that counts this spender." if pairs else _NO_BUDGETS)
    end(rows)


@budgets.command()
def holds(url: Url = None, valkey_url: ValkeyUrl = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """What is set aside for calls under way."""
    with opened(url, valkey_url=valkey_url) as thrift:
        rows = thrift.budgets.holds()
    if not write_rows(rows, as_json=as_json, as_csv=as_csv):
        if rows:
            shown = [
                [row["id"], *(f"{row[at]:%Y-%m-%d %H:%M:%S}" for at in ("created_at", "expires_at")), row["usd"], row["tokens"]]
                for row in rows
            ]
            of = [", ".join(row["budgets"]) for row in rows]
            header = ["hold", "since", "expires", "usd", "tokens", "budgets"]
            show_table(header, [[*row, names] for row, names in zip(shown, of, strict=True)])
        else:
            show("Nothing is set aside.")
    end(rows)


@budgets.command()
def release(
    hold: Annotated[str | None, typer.Argument(help="A hold's id; without it, every hold past its time")] = None,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """Give back what a hold has set aside."""
    with opened(url, valkey_url=valkey_url) as thrift:
        released = int(thrift.budgets.release(hold)) if hold is not None else thrift.budgets.release_expired()
    show(f"released {counted(released, 'hold')}")
    end(released or hold is None)


@budgets.command("design")
def design_budgets(
    usd_a_month: Annotated[str, typer.Option("--usd", help="Dollars a month")],
    usd_per_thousand_tokens: Annotated[str, typer.Option("--price", help="Dollars per 1,000 tokens, mean of input and output")],
    feature: Annotated[list[str] | None, typer.Option(help="NAME=PERCENT; repeatable")] = None,
    group: Annotated[list[str] | None, typer.Option(help="NAME=USERSxTOKENS a day each, such as free=400x2000000; repeatable")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Keep a monthly budget for each feature")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """Divide a monthly spend over features and groups of users, and say what does not add up."""
    plan = design(
        usd_a_month=usd_a_month,
        usd_per_thousand_tokens=usd_per_thousand_tokens,
        features={name: _number(value, Decimal) for name, value in (pair(text, option="--feature") for text in feature or [])},
        groups=dict(_group(text) for text in group or []),
    )
    rows = plan.to_dicts()
    quiet = write_rows(rows, as_json=as_json, as_csv=as_csv, whole={"rows": rows, "problems": plan.problems})
    if not quiet:
        show(plan.to_text())
    if apply:
        with Thrift(url, valkey_url=valkey_url) as thrift:
            for budget in plan.budgets():
                thrift.budgets.add(budget)
                typer.echo(f"kept budget {budget.name!r}", err=quiet)


def _described(budget: Budget) -> dict[str, Any]:
    described: dict[str, Any] = {name: getattr(budget, name) for name in Budget.__dataclass_fields__}
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in described.items()}


def _row(budget: Budget) -> list[str]:
    match = ", ".join(f"{name}={value}" for name, value in budget.match.items())
    return [budget.name, _limits(budget), f"{budget.window} {budget.tz}", ", ".join(budget.per or ()), match, budget.on_exceed]


def _show_status(rows: Sequence[Mapping[str, Any]], apart: Collection[str]) -> None:
    """A table for each unit, since amounts of one column are of one kind."""
    header = ["budget", "who", "limit", "spent", "reserved", "remaining", "overrun", "resets"]
    for number, unit in enumerate(dict.fromkeys(row["unit"] for row in rows)):
        shown = []
        for row in rows:
            if row["unit"] != unit:
                continue
            nobody = "nobody yet" if row["name"] in apart else "everybody"
            who = ", ".join(f"{name}={value}" for name, value in row["scope"].items()) or nobody
            amounts = [Decimal(row[name]) if unit == "usd" else row[name] for name in _AMOUNTS]
            resets = "never" if row["resets_at"] is None else f"{row['resets_at']:%Y-%m-%d %H:%M}"
            shown.append([row["name"], who, *amounts, resets])
        if number:
            typer.echo("")
        show_table(header, shown, title="" if unit == "usd" else unit.replace("_", " "))


def _limits(budget: Budget) -> str:
    limits = [("usd", budget.limit_usd), ("tokens", budget.limit_tokens), ("requests", budget.limit_requests)]
    limits += [("tool calls", budget.limit_tool_calls), ("seconds", budget.limit_seconds)]
    return ", ".join(_amount(limit, unit) + (f" {unit}" if unit != "usd" else "") for unit, limit in limits if limit is not None)


def _amount(value: Any, unit: str) -> str:
    return usd(Decimal(value)) if unit == "usd" else f"{value:,}"


def _group(text: str) -> tuple[str, Group]:
    name, value = pair(text, option="--group")
    users, _, tokens = value.partition("x")
    return name, Group(_number(users, int), _number(tokens, int))


def _number(text: str, kind: Any) -> Any:
    try:
        return kind(text)
    except (ValueError, ArithmeticError):
        raise typer.BadParameter(f"not a number: {text!r}") from None
