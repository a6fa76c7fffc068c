"""`llmthrift prove`: four ways to answer one's own workload, replayed or asked now."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmthrift_core.cli.options import Prices, Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_rows
from llmthrift_core.cli.routing import Data, Default, Models, models_of, priced
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exports import require_extra
from llmthrift_core.ledger.judged import read_questions
from llmthrift_core.lexical import question_of_text
from llmthrift_core.moments import to_us
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.thrift import Thrift

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmthrift_core.routing import Examples

Prompt = tuple[str, str | None]
_NEWEST: Final = 10_000  # calls whose prompts may be asked again


def prove(
    data: Data,
    models: Models = None,
    default: Default = None,
    distilled: Annotated[str | None, typer.Option(help="Which of the models is fine-tuned")] = None,
    min_quality: Annotated[float, typer.Option(help="That routers keep, as a share of the default model's")] = 0.98,
    by_meaning: Annotated[bool, typer.Option(help="The cache also answers questions that mean the same")] = True,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the models now, a sample of the prompts, and judge; needs --models and --judge")
    ] = False,
    sample: Annotated[int, typer.Option(help="Prompts to ask with --live", min=1)] = 100,
    judge: Annotated[str | None, typer.Option(help="Model that judges with --live, such as openai:gpt-4.1")] = None,
    max_usd: Annotated[float, typer.Option(help="Most that --live may spend, a day")] = 1.0,
    since: Annotated[str | None, typer.Option(help="Of a ledger, the calls from this time on")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Dollars, latency and quality kept: direct, cache, shorter and routed, distilled; on judged answers, or asked now."""
    require_extra("routing", "numpy", "sklearn")
    from llmthrift_core.decisions import prove as proof_of

    catalog = PriceCatalog(overrides=price_file)
    given = models_of(models)
    notes: list[str] = []
    if live and (given is None or judge is None):
        raise typer.BadParameter("--live needs --models NAME=MODEL,... and --judge MODEL")
    if data == "ledger" or live:
        with opened(url, prices=price_file) if data == "ledger" else Thrift(url, prices=price_file) as thrift:
            if not live:
                examples = thrift.examples(since, models=given)
            else:
                prompts = _prompts_of_ledger(thrift, since) if data == "ledger" else _prompts_of(_of_file(data))
                names = {name: value for name, value in (given or {}).items() if isinstance(value, str)}
                if len(names) < len(given or {}):
                    raise typer.BadParameter("--live asks models by their names: --models small=openai:gpt-4o-mini,large=openai:gpt-4o")
                examples, notes = _asked(thrift, prompts, names, str(judge), sample=sample, max_usd=max_usd)
                given = {name: model.rpartition(":")[2] for name, model in names.items()}
    else:
        examples = _of_file(data)
    _, known = priced(given, examples, catalog)
    with Thrift(":memory:") as scratch:
        found = proof_of(
            examples,
            models=known,
            default=default,
            distilled=distilled,
            min_quality=min_quality,
            cache=_semantic(scratch) if by_meaning else None,
            same_answer=_same_answer() if by_meaning else None,
            catalog=catalog,
        )
    if not write_rows(found.to_dicts(), as_json=as_json, as_csv=as_csv):
        show("\n".join([found.to_text(), *notes]))
    end(found.ways)


def _of_file(data: str) -> Examples:
    from llmthrift_core.routing import examples_of_file

    return examples_of_file(data)


def _prompts_of_ledger(thrift: Thrift, since: str | None) -> list[Prompt]:
    thrift.flush()
    with thrift.database.read() as connection:
        read = read_questions(connection, since_us=None if since is None else to_us(since), limit=_NEWEST)
    return [(question_of_text(prompt), site) for prompt, site in read]


def _prompts_of(examples: Examples) -> list[Prompt]:
    return [(each.prompt, each.call_site) for each in examples]


def _semantic(scratch: Thrift) -> Any:
    from llmthrift_core.cache import ErrorBound, SemanticCache

    require_extra("semantic", "fastembed")
    return SemanticCache(scratch, policy=ErrorBound(0.01))


def _same_answer() -> Callable[[str, str], bool]:
    from llmthrift_core.cache import SimilarAnswers

    return SimilarAnswers()


def _asked(
    thrift: Thrift, given: list[Prompt], models: dict[str, str], judge: str, *, sample: int, max_usd: float
) -> tuple[Examples, list[str]]:
    """What the models say now to a random sample of the prompts."""
    from llmthrift_core.quality import PointwiseJudge, sample_live

    prompts = sorted(set(given), key=str)
    if not prompts:
        raise ConfigurationError('there is no prompt to ask; Thrift(capture="text") stores prompts')
    chosen = random.Random(0).sample(prompts, min(sample, len(prompts)))  # noqa: S311 - the same in every run
    found = sample_live(
        thrift,
        chosen,
        {name: asking(thrift, model) for name, model in models.items()},
        PointwiseJudge(asking(thrift, judge), name=judge, thrift=thrift),
        max_usd=max_usd,
    )
    if not found.examples:
        raise ConfigurationError(f"no prompt was asked: {found.stopped or counted(found.failed, 'answer') + ' failed'}")
    asked = len({(each.prompt, each.call_site) for each in found.examples})
    notes = [f"Asked now: {asked:,} of {counted(len(chosen), 'prompt')} for ${found.spent_usd:.4f}; {found.failed:,} failed."]
    return found.examples, [*notes, *([f"Stopped: {found.stopped}."] if found.stopped else [])]


def asking(thrift: Thrift, model: str) -> Callable[[str], str]:
    """A function from a prompt to a model's answer, metered and never out of the cache."""
    require_extra("service", "fastapi")
    from llmthrift_core.service.app import backend_of
    from llmthrift_core.service.backend import Asked

    backend = backend_of(thrift, {"model": model}, cache=False)

    async def answer(prompt: str) -> str:
        try:
            found = await backend.answer(Asked([{"role": "user", "content": prompt}], use_cache=False))
            return found.choices[0].text or ""
        finally:
            await backend.aclose()  # connections are an event loop's, and each question has one of its own

    def ask(prompt: str) -> str:
        return asyncio.run(answer(prompt))

    return ask
