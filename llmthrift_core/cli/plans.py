"""`llmthrift breakeven`, `roi` and `what-if`: from figures to decisions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from llmthrift_core.cli.options import Prices, Since, Until, Url, opened, pair
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_rows
from llmthrift_core.decisions import ApiCost, ContextCost, ConversationCost, SelfHosted, build_or_buy, context_cost, conversation_cost
from llmthrift_core.decisions import advise as advice
from llmthrift_core.decisions import roi as returns
from llmthrift_core.decisions import tier_mix as mix
from llmthrift_core.decisions import what_if as replay
from llmthrift_core.display import Plan, counted
from llmthrift_core.money import exact
from llmthrift_core.pricing import PriceCatalog


def breakeven(
    usd_per_gpu_hour: Annotated[str, typer.Option("--gpu-hour", help="US dollars for an hour of one GPU")],
    requests_per_hour: Annotated[str, typer.Option(help="That one node serves")],
    gpus: Annotated[int, typer.Option(help="Of one node", min=1)] = 1,
    operations_usd_per_month: Annotated[str, typer.Option("--operations", help="US dollars a month for people and tools")] = "0",
    hours_per_month: Annotated[str, typer.Option("--hours", help="A month, in which a node runs")] = "720",
    model: Annotated[str | None, typer.Option(help="The API's side from the ledger: what calls of this model cost")] = None,
    input_usd_per_million: Annotated[str | None, typer.Option("--input-price", help="US dollars a million input tokens")] = None,
    output_usd_per_million: Annotated[str | None, typer.Option("--output-price", help="US dollars a million output tokens")] = None,
    input_tokens: Annotated[str | None, typer.Option(help="Of a request")] = None,
    output_tokens: Annotated[str | None, typer.Option(help="Of a request")] = None,
    at: Annotated[int | None, typer.Option(help="Show the hybrid at so many requests a month", min=0)] = None,
    since: Since = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """An API against one's own GPUs, at every volume."""
    given = {
        "input_usd_per_million": input_usd_per_million,
        "output_usd_per_million": output_usd_per_million,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
    if model is not None:
        if any(value is not None for value in given.values()):
            raise typer.BadParameter("give either --model, or prices and tokens")
        with opened(url) as thrift:
            api = ApiCost.of(thrift, model, since=since)
    elif all(value is not None for value in given.values()):
        api = ApiCost(**{name: str(value) for name, value in given.items()})
    else:
        raise typer.BadParameter("give --model, or all of --input-price, --output-price, --input-tokens and --output-tokens")
    hosted = SelfHosted(
        gpus=gpus, usd_per_gpu_hour=usd_per_gpu_hour, requests_per_hour=requests_per_hour, operations_usd_per_month=operations_usd_per_month
    )
    found = build_or_buy(api, hosted, hours_per_month=hours_per_month)
    _show(found, found.to_dicts(), as_json=as_json, as_csv=as_csv)
    if at is not None and not (as_json or as_csv):
        best = found.at(at)
        show(
            f"At {at:,}: {counted(best.nodes, 'node')} and {counted(best.api_requests, 'request')} at the API for ${best.usd:,.2f}; "
            f"the API alone ${best.api_usd:,.2f}, nodes alone ${best.self_hosted_usd:,.2f}"
        )


def roi(
    value: Annotated[list[str], typer.Option(help="NAME=USD of value a month; may be given again")],
    cost: Annotated[list[str], typer.Option(help="NAME=USD of cost a month; may be given again")],
    setup_usd: Annotated[str, typer.Option("--setup", help="US dollars before there is value")] = "0",
    setup_months: Annotated[str, typer.Option(help="How long that takes")] = "0",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Value against cost a month, the pay-back, and what halved value makes of it."""
    found = returns(
        value=dict(pair(each, option="--value") for each in value),
        cost=dict(pair(each, option="--cost") for each in cost),
        setup_usd=setup_usd,
        setup_months=setup_months,
    )
    figures = {"percent": found.percent, "payback_month": found.payback_month, "net_usd": found.net_usd, "sensitivity": found.sensitivity}
    _show(found, figures, as_json=as_json, as_csv=as_csv)


def what_if(
    output: Annotated[str | None, typer.Option(help="Answers cost so many times as much, such as 1.2")] = None,
    model: Annotated[list[str] | None, typer.Option(help="OLD=NEW: another model would have answered; may be given again")] = None,
    prices: Annotated[Path | None, typer.Option("--other-prices", help="TOML file of price overrides to price with")] = None,
    cache_ttl_seconds: Annotated[str | None, typer.Option("--cache-ttl", help="Exact answers kept for so many seconds")] = None,
    by: Annotated[str, typer.Option(help="model, feature, user, ...")] = "model",
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Replay the recorded calls with one thing changed."""
    with opened(url, prices=price_file) as thrift:
        found = replay(
            thrift,
            since=since,
            until=until,
            output=output,
            model=dict(pair(each, option="--model") for each in model) if model else None,
            prices=prices,
            cache_ttl_seconds=cache_ttl_seconds,
            by=by,
        )
    rows = found.to_dicts()
    if rows or as_json or as_csv:
        _show(found, rows, as_json=as_json, as_csv=as_csv)
    else:
        show("No calls are recorded in this period.")
    end(rows)


def context(
    tokens: Annotated[str, typer.Option(help="That every request sends, or of the fixed part of a conversation")],
    requests_per_day: Annotated[str, typer.Option("--requests", help="A day; of a conversation: conversations a day")],
    usd_per_million: Annotated[str | None, typer.Option("--price", help="US dollars a million input tokens")] = None,
    model: Annotated[str | None, typer.Option(help="Whose price of input it is")] = None,
    turns: Annotated[str | None, typer.Option(help="Of a conversation that sends its history with every turn")] = None,
    tokens_per_turn: Annotated[str, typer.Option("--turn-tokens", help="That a turn adds, its question and its answer")] = "500",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    price_file: Prices = None,
) -> None:
    """What a context costs that every request sends, or a conversation that sends its history again."""
    prices = None if price_file is None else PriceCatalog(overrides=price_file)
    found: ContextCost | ConversationCost
    if turns is None:
        found = context_cost(tokens, requests_per_day=requests_per_day, usd_per_million=usd_per_million, model=model, prices=prices)
    else:
        found = conversation_cost(
            turns=turns,
            tokens_per_turn=tokens_per_turn,
            fixed_tokens=tokens,
            conversations_per_day=requests_per_day,
            usd_per_million=usd_per_million,
            model=model,
            prices=prices,
        )
    _show(found, found.to_dicts(), as_json=as_json, as_csv=as_csv)


def tier_mix(
    spent_usd: Annotated[str, typer.Option("--spent", help="US dollars, all on one model")],
    usd_per_million: Annotated[str, typer.Option("--price", help="US dollars a million tokens of that model")],
    tier: Annotated[list[str], typer.Option(help="NAME=SHARE@PRICE, such as small=70%@0.15; may be given again")],
    claimed_usd: Annotated[str | None, typer.Option("--claimed", help="A published result to check")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """A bill on one model, and what its tokens cost on a mix of tiers."""
    tiers: dict[str, tuple[str | Fraction, str]] = {}
    for each in tier:
        name, given = pair(each, option="--tier")
        share, at, rate = given.partition("@")
        if not at:
            raise typer.BadParameter(f"--tier takes NAME=SHARE@PRICE, such as small=70%@0.15, not {each!r}")
        tiers[name] = (exact("share", share[:-1]) / 100 if share.endswith("%") else share, rate)
    found = mix(spent_usd=spent_usd, usd_per_million=usd_per_million, tiers=tiers, claimed_usd=claimed_usd)
    figures = {"spent_usd": found.spent_usd, "usd": found.usd, "saved_share": found.saved_share, "is_claim_right": found.is_claim_right}
    _show(found, figures, as_json=as_json, as_csv=as_csv)


def advise(
    kind: Annotated[str | None, typer.Option(help="Of workload: support, analytics, code or other; without it the ledger says")] = None,
    requests_per_day: Annotated[str | None, typer.Option("--requests", help="A day")] = None,
    repeats: Annotated[str | None, typer.Option(help="Share that was asked before, 0 to 1; default: as usual for the kind")] = None,
    input_tokens: Annotated[str | None, typer.Option(help="Of a usual request")] = None,
    output_tokens: Annotated[str | None, typer.Option(help="Of a usual answer")] = None,
    model: Annotated[str | None, typer.Option(help="That answers now")] = None,
    latency_seconds: Annotated[str | None, typer.Option("--latency", help="Seconds that an answer may take")] = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """What to switch on first, from the ledger or from the answers to six questions."""
    if not any((kind, model, latency_seconds, requests_per_day, repeats, input_tokens, output_tokens)):
        with opened(url, prices=price_file) as thrift:
            found = advice(thrift, since=since, until=until)
    else:
        prices = None if price_file is None else PriceCatalog(overrides=price_file)
        found = advice(
            kind=kind,
            model=model,
            latency_seconds=latency_seconds,
            requests_per_day=requests_per_day,
            repeats=repeats,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            prices=prices,
        )
    figures = {"spent_usd": found.spent_usd, "period": found.period, "advice": found.to_dicts(), "notes": found.notes}
    _show(found, figures, as_json=as_json, as_csv=as_csv)


def _show(plan: Plan, figures: Any, *, as_json: bool, as_csv: bool) -> None:
    if not write_rows(plan.to_dicts(), as_json=as_json, as_csv=as_csv, whole=figures):
        show(plan.to_text())
