"""What routers learn from, out of the ledger: judged answers whose text is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.quality.labelled import read_labelled
from llmthrift_core.request import question_of_text
from llmthrift_core.routing.example import Example, Examples
from llmthrift_core.routing.model_names import names_of_models

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database


def examples_of_ledger(database: Database, *, since: Moment | None = None, models: Mapping[str, float | str] | None = None) -> Examples:
    """See `Thrift.examples`.

    The prompt is the question of the last user message, which is what a `LearnedPolicy` decides by. The ledger knows which model answered,
    not under which name a router had it, and one model may have several names in several routers: so the names come from `models`. A
    name's own text, or the model's name that is given as its price, stands for that model and its dated releases.
    """
    name_of = names_of_models(models)
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
