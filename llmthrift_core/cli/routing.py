"""`llmthrift route`: what a policy would do with recorded traffic, and fitted routers in versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmthrift_core.cli.options import Prices, Since, Url, opened, pair
from llmthrift_core.cli.output import AsCsv, AsJson, show, write_rows
from llmthrift_core.cli.policy_file import object_of_file
from llmthrift_core.cli.versions import add_version_commands
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exports import require_extra
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.thrift import Thrift

if TYPE_CHECKING:
    from llmthrift_core.routing import Cascade, Examples, LearnedRouter
    from llmthrift_core.routing.models import ModelPrices
    from llmthrift_core.routing.simulation.replay import Subject

route = typer.Typer(no_args_is_help=True, help="Simulate routing on recorded traffic; fit routers and keep their versions.")
Data = Annotated[str, typer.Option("--data", help="A file of examples (.csv, .jsonl), or the word ledger")]
Models = Annotated[
    str | None,
    typer.Option(
        "--models", help="weak=0.6,strong=gpt-4o: US dollars per million tokens, or a model's name. Default: those in the data, by name"
    ),
]
Default = Annotated[str | None, typer.Option("--default", help="The model whose quality is to be kept. Default: the most expensive one")]
Escalations = Annotated[
    bool,
    typer.Option(
        "--escalations", help="Of a ledger, also answers without feedback that a cascade reviewed; its confidence is their quality"
    ),
]
MinQuality = Annotated[float, typer.Option("--min-quality", help="To be kept, as a share of the default model's quality")]


@route.command("simulate")
def simulate_policy(
    data: Data,
    policy: Annotated[str, typer.Option(help="learned, cascade, complexity, or FILE.py:OBJECT")] = "learned",
    models: Models = None,
    default: Default = None,
    min_quality: MinQuality = 0.98,
    seeds: Annotated[int, typer.Option(help="So many splits", min=1)] = 5,
    learn_share: Annotated[float, typer.Option(help="Of the prompts to fit on; the others are judged by")] = 0.5,
    plot: Annotated[Path | None, typer.Option(help="Save the cost-quality curve as a page that needs nothing else")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    since: Since = None,
    escalations: Escalations = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Replay recorded traffic against a policy: quality, cost and escalations, beside controls that spend the same."""
    if plot is not None:
        require_extra("notebook", "altair", "vl_convert")
    _require_routing()
    from llmthrift_core.routing import Traffic, simulate

    catalog = PriceCatalog(overrides=price_file)
    if data == "ledger":
        with opened(url) as thrift:
            examples = thrift.examples(since, models=models_of(models), escalations=escalations)
    else:
        examples = _of_file(data, escalations)
    prices, known = priced(models_of(models), examples, catalog)
    traffic = Traffic.of(examples, prices)
    makers = _makers(known, prices, default, min_quality, catalog)
    given = None if policy in makers else _policy(policy)
    found = simulate(
        traffic, lambda seed: makers[policy](seed) if given is None else given, name=policy, seeds=seeds, learn_share=learn_share
    )
    if not write_rows(found.to_dicts(), as_json=as_json, as_csv=as_csv):
        show(f"{found.to_text()}{_left_out({**examples.skipped, **traffic.skipped})}\n\n{found.curve_text()}")
    if plot is not None:
        found.chart().save(str(plot), format="html", inline=True)
        typer.echo(f"saved {plot}", err=as_json or as_csv)


@route.command()
def fit(
    data: Data,
    name: Annotated[str, typer.Option(help="What the router is called")],
    kind: Annotated[str, typer.Option(help="learned or cascade")] = "learned",
    models: Models = None,
    default: Default = None,
    min_quality: MinQuality = 0.98,
    note: Annotated[str | None, typer.Option(help="To be kept with the version")] = None,
    since: Since = None,
    escalations: Escalations = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Fit a router or a cascade, and save it as the next version of a name, which becomes the active one."""
    _require_routing()
    if kind not in ("learned", "cascade"):
        raise typer.BadParameter(f"--kind takes learned or cascade, not {kind!r}")
    catalog = PriceCatalog(overrides=price_file)
    with opened(url) if data == "ledger" else Thrift(url) as thrift:
        examples = (
            thrift.examples(since, models=models_of(models), escalations=escalations) if data == "ledger" else _of_file(data, escalations)
        )
        prices, known = priced(models_of(models), examples, catalog)
        made = _makers(known, prices, default, min_quality, catalog)[kind](0)
        made.fit(examples)
        if not made.fitted:
            raise ConfigurationError(
                f"nothing was learned, so nothing is saved: {counted(len(examples), 'example is', 'examples are')} too few, or all alike"
            )
        saved = thrift.routers.save(made, name=name, note=note)
    textless = sum(example.counts is not None for example in examples)
    alone = (
        f" No text is stored of {textless:,}, so it was learned from counts and call sites alone." if textless and kind == "learned" else ""
    )
    typer.echo(f"fitted on {counted(len(examples), 'example')}.{alone}{_left_out(examples.skipped)}")
    typer.echo(f"saved version {saved.version} of {name!r}, {saved.size_bytes / 1e6:.1f} MB; it is the active one")


@route.command()
def refit(
    name: str,
    models: Annotated[str, typer.Option("--models", help="small=gpt-4o-mini,large=gpt-4o: the tiers, as the ledger knows their models")],
    default: Default = None,
    min_quality: MinQuality = 0.98,
    min_new: Annotated[int, typer.Option(help="Judged answers since the last try", min=1)] = 200,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Fit a router again, if enough answers were judged since the last try, and activate it if it is good enough."""
    _require_routing()
    from llmthrift_core.versions import Refit

    options = Refit(models=models_of(models) or {}, default=default, min_quality=min_quality, min_new_examples=min_new)
    with opened(url, prices=price_file) as thrift:
        outcome = thrift.routers.refit(name, options)
    if outcome.saved is not None:
        typer.echo(f"saved version {outcome.saved.version} of {name!r}; it is {'the active one' if outcome.activated else 'not activated'}")
    typer.echo(outcome.why)


add_version_commands(route, lambda thrift: thrift.routers, "router")


def _require_routing() -> None:
    require_extra("routing", "numpy", "sklearn")


def _of_file(data: str, escalations: bool) -> Examples:
    if escalations:
        raise typer.BadParameter("--escalations is for --data ledger: what a cascade thought of an answer is not in a file")
    from llmthrift_core.routing import examples_of_file

    return examples_of_file(data)


def models_of(text: str | None) -> dict[str, float | str] | None:
    """Names and prices as the option takes them."""
    if text is None:
        return None
    found: dict[str, float | str] = {}
    for part in text.split(","):
        name, value = pair(part.strip(), option="--models")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


def priced(
    models: Mapping[str, float | str] | None, examples: Examples, catalog: PriceCatalog
) -> tuple[ModelPrices, Mapping[str, float | str]]:
    from llmthrift_core.routing.models import ModelPrices

    if not examples:
        raise ConfigurationError(
            f"there are no examples.{_left_out(examples.skipped)} In a ledger they are calls that were judged, by thrift.feedback(...) or "
            'an Evaluation, and of whose prompts the counts or the text were stored with Thrift(capture="features" or "text")'
        )
    found = sorted({example.model for example in examples})
    known = models if models is not None else {name: examples.models.get(name, name) for name in found}
    return ModelPrices.of(known, catalog), known


def _left_out(skipped: Mapping[str, int]) -> str:
    counts = ", ".join(f"{why} ({count:,})" for why, count in skipped.items())
    return f" Left out: {counts}." if counts else ""


def _makers(
    known: Mapping[str, float | str], prices: ModelPrices, default: str | None, min_quality: float, catalog: PriceCatalog
) -> Mapping[str, Callable[[int], LearnedRouter | Cascade]]:
    """What can be fitted, by the name that the options have for it; made from a seed."""
    from llmthrift_core.routing import Cascade, LearnedRouter

    def cascade(seed: int) -> Cascade:
        if default is not None:
            raise typer.BadParameter("--default is for learned routers: a cascade ends with the most expensive model")
        return Cascade(sorted(prices.names, key=prices.blended), min_quality=min_quality, seed=seed)

    return {"learned": lambda seed: LearnedRouter(known, default, min_quality, catalog=catalog, seed=seed), "cascade": cascade}


def _policy(text: str) -> Subject:
    from llmthrift_core.routing import Complexity

    return Complexity() if text == "complexity" else object_of_file(text)
