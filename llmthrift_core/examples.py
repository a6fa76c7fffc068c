"""What routers learn from, out of the ledger: judged answers whose text is stored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.quality.labelled import read_labelled
from llmthrift_core.request import question_of_text
from llmthrift_core.routing.example import Example, Examples

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database

_RELEASE: Final = re.compile(r"[-@](?:\d{4}-?\d{2}-?\d{2}|\d{3,4}|latest)$")
"""What providers add to a model's name when they answer: "gpt-4o-2024-08-06", "claude-3-5-haiku@20241022", "gpt-4-0613"."""


def examples_of_ledger(database: Database, *, since: Moment | None = None, models: Mapping[str, float | str] | None = None) -> Examples:
    """See `Thrift.examples`.

    The prompt is the question of the last user message, which is what a `LearnedPolicy` decides by. The ledger knows which model answered,
    not under which name a router had it, and one model may have several names in several routers: so the names come from `models`. A
    name's own text, or the model's name that is given as its price, stands for that model and its dated releases.
    """
    name_of = _names(models)
    found, skipped = Examples(), Counter[str]()
    with database.read() as connection:
        for each in read_labelled(connection, since_us=None if since is None else to_us(since)):
            call = each.judged.call
            name = name_of(call["model"])
            if call["cache"] == "semantic":
                skipped["answer to another question, found by meaning"] += 1
            elif name is None:
                skipped["answer of another model"] += 1
            elif each.prompt is None:
                skipped["no text stored"] += 1
            else:
                question = question_of_text(each.prompt)
                found.append(Example(question, name, each.judged.quality, call_site=call["call_site"], answer=each.answer))
    if not found and (textless := skipped["no text stored"]):
        raise ConfigurationError(
            f"{textless:,} answers were judged, but the text of none is stored, and a router learns from texts. Texts are stored from now "
            'on with Thrift(capture="text"), after the function given as redact; with capture="features" there is only a hash and counts'
        )
    found.skipped = dict(skipped)
    return found


def _names(models: Mapping[str, float | str] | None) -> Callable[[str], str | None]:
    if models is None:
        return lambda model: model
    names: dict[str, str] = {}
    for name, given in models.items():
        model = given if isinstance(given, str) else name
        if model in names:
            raise ConfigurationError(
                f"{names[model]!r} and {name!r} are both the model {model!r}: the ledger cannot tell which of them answered"
            )
        names[model] = name
    return lambda model: names.get(model, names.get(_RELEASE.sub("", model)))
