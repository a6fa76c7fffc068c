"""`sample_live`: models answer a sample of prompts now, and a judge scores them, within an amount of dollars."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from llmthrift_core.errors import BudgetExceededError, ConfigurationError, JudgeError
from llmthrift_core.model_calls.models import asker
from llmthrift_core.quality.judge import Judgement
from llmthrift_core.quality.spending import JudgingAmount
from llmthrift_core.routing.examples import Example, Examples
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost


@dataclass
class LiveSample:
    """What was asked and judged.

    Attributes:
        examples: of the prompts that every model answered and of which every answer was judged.
        spent_usd: on answers and judgements.
        failed: answers or judgements that failed; their prompts are left out.
        stopped: why prompts are left, or None.
    """

    examples: Examples = field(default_factory=Examples)
    spent_usd: Decimal = Decimal(0)
    failed: int = 0
    stopped: str | None = None


def sample_live(
    thrift: AccountHost,
    prompts: Sequence[tuple[str, str | None]],
    models: Mapping[str, Any],
    judge: Callable[[str, str], Judgement],
    *,
    max_usd: Decimal | float | str,
    usd_per_answer: Decimal | float | str | None = None,
    name: str = "prove",
) -> LiveSample:
    """Ask every model each prompt, and judge what it says.

    Money fails closed: before each answer as much is set aside as the dearest one took so far, and where there is no room for that, or
    what an answer costs is not known, no more is asked.

    Args:
        thrift: whose ledger meters the models, and whose budget holds the amount; it is one of a UTC day.
        prompts: with the call site of each.
        models: name -> a chat model, an LLM, or a function from a prompt to a text. Wrap them, and the judge's, with `thrifty`.
        judge: of a question and an answer, such as a `PointwiseJudge`.
        max_usd: for answers and judgements together.
        usd_per_answer: what an answer and its judgement cost where nothing is metered.

    Raises:
        ConfigurationError: no models, or something that cannot be asked.
        StorageError: the budget cannot be kept.
    """
    require_thrift(thrift, "sample_live")
    if not models:
        raise ConfigurationError("models is empty; give at least one")
    ask = {name: asker(model) for name, model in models.items()}
    amount = JudgingAmount(thrift, name, max_usd=max_usd, usd_per_judgement=usd_per_answer)
    sample = LiveSample()
    for prompt, call_site in prompts:
        found: list[Example] = []
        for kind, (model, asking) in enumerate(ask.items()):
            try:
                paid = amount.pay_for(partial(_answered, asking, judge, prompt), kind=kind)
            except BudgetExceededError:
                sample.stopped = f"the amount of ${max_usd} is spent"
                return sample
            if paid.usd is None and (paid.failure is None or paid.failure.kind == "unreadable"):
                sample.stopped = f"what an answer of {model} costs is not known: wrap the models with thrifty, or say usd_per_answer="
                return sample
            sample.spent_usd += paid.usd or 0
            if paid.said is None:
                sample.failed += 1
                break
            answer, judgement, seconds = paid.said
            found.append(Example(prompt, model, judgement.quality, call_site, answer, latency_seconds=seconds))
        else:
            sample.examples.extend(found)
    return sample


def _answered(ask: Callable[[str], str], judge: Callable[[str, str], Judgement], prompt: str) -> tuple[str, Judgement, float]:
    began = time.perf_counter()
    try:
        answer = ask(prompt)
    except BudgetExceededError:
        raise
    except Exception as error:  # its text may hold a prompt, or a key
        raise JudgeError(f"the model failed with {type(error).__name__}", kind="failed") from None
    seconds = time.perf_counter() - began
    return answer, judge(prompt, answer), seconds
