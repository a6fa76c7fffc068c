"""Examples for routers, out of the ledger: judged answers of which the prompt or its counts are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.judged import LabelledCall, read_labelled
from llmthrift_core.lexical import question_of_text
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.routing.examples import Example, Examples
from llmthrift_core.routing.models import names_of_calls

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database

_NOTHING_STORED: Final = "nothing stored of the prompt"


def examples_of_ledger(
    database: Database,
    *,
    since: Moment | None = None,
    models: Mapping[str, float | str] | Sequence[str] | None = None,
    escalations: bool = False,
) -> Examples:
    """See `Thrift.examples`.

    The prompt is the question of the last user message, which is what a `LearnedPolicy` decides by; where its text is not stored, the
    example has its counts. A routed call's row has the name of the tier; one model may have other names in other routers, and answers that
    were not routed have none: so `models` says which names are meant. A name's own text, or the model's name that is given as its price,
    stands for that model and its dated releases; the tier tells names of one model apart, and alone tells which answers are meant by a name
    with a number as its price.
    """
    names_of = names_of_calls(models)
    found, skipped = Examples(), Counter[str]()
    last: dict[str, tuple[int, str]] = {}
    with database.read() as connection:
        for each in read_labelled(connection, since_us=None if since is None else to_us(since), escalations=escalations):
            call = each.judged.call
            names = names_of(call)
            if call["cache"] == "semantic":
                skipped["answer to another question, found by meaning"] += 1
            elif not names:
                skipped["answer of another model"] += 1
            elif len(names) > 1:
                skipped[f"not routed, and {' and '.join(map(repr, names))} are the same model"] += 1
            elif each.prompt is None and each.counts is None:
                skipped[_NOTHING_STORED] += 1
            else:
                name = names[0]
                found.append(_example(each, name))
                found.times_us.append(call["at_us"])
                last[name] = max(last.get(name, (0, "")), (call["at_us"], call["model"]))
    if not found and (unknown := skipped[_NOTHING_STORED]):
        raise ConfigurationError(
            f"{counted(unknown, 'answer was', 'answers were')} judged, but nothing is stored of their prompts. From now on "
            'Thrift(capture="features"), the '
            'default, stores counts that a router learns from, and Thrift(capture="text") prompts and answers, after the function given as '
            "redact; calls that the application records itself with ledger.record have no prompt"
        )
    found.skipped = dict(skipped)
    found.models = {name: model for name, (_, model) in last.items()}
    return found


def _example(each: LabelledCall, model: str) -> Example:
    quality, call = each.judged.quality, each.judged.call
    tokens = call["output_tokens"] if call["cache"] is None else None  # a hit generates none
    latency = call["latency_us"] / 1e6 if call["cache"] is None and call["latency_us"] is not None else None
    if each.prompt is None:
        return Example("", model, quality, call["call_site"], counts=each.counts, answer_tokens=tokens, latency_seconds=latency)
    question = question_of_text(each.prompt)
    return Example(question, model, quality, call["call_site"], each.answer, answer_tokens=tokens, latency_seconds=latency)
