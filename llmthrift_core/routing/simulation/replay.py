"""Replay of recorded prompts through a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.cascades.cascade import Cascade
from llmthrift_core.routing.learned.router import LearnedRouter
from llmthrift_core.routing.policies.complexity import Complexity
from llmthrift_core.routing.policy import RoutingPolicy
from llmthrift_core.routing.simulation.traffic import Traffic
from llmthrift_core.routing.types import RouteRequest, Tiers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.intp]

Subject = LearnedRouter | Cascade | RoutingPolicy


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was done with some rows of the traffic.

    Attributes:
        model: the column of the model whose answer was kept, shape (rows,).
        usd: of all models that were asked, same shape.
        escalated: whether more than one was asked, same shape.
        score: the higher, the more the policy wants the most expensive model; None of a policy that does not rank.
        first_is_paid: the cheapest model is asked whatever the score.
    """

    model: Rows
    usd: Floats
    escalated: NDArray[np.bool_]
    score: Floats | None
    first_is_paid: bool = False


def replay(subject: Subject, traffic: Traffic, rows: Rows) -> Replayed:
    """Let a fitted router, a cascade or a policy decide on rows of the traffic.

    Raises:
        ConfigurationError: it chose a model that the traffic does not know, or the traffic holds no answers and it judges answers.
    """
    if isinstance(subject, Cascade):
        return _cascaded(subject, traffic, rows)
    asked = [(traffic.prompts[row], traffic.call_sites[row]) for row in rows]
    score = None
    if isinstance(subject, LearnedRouter):
        chosen: Sequence[str] = [subject.decide(*each, allowed=traffic.models).tier for each in asked]
        if {traffic.models[0], traffic.models[-1]} <= set(subject.models):
            score = np.array([subject.gain(*each) for each in asked])
    else:
        tiers = Tiers(traffic.models)
        requests = [RouteRequest(prompt, input_chars=len(prompt), attribution=Attribution(call_site=site)) for prompt, site in asked]
        chosen = [subject.decide(request, tiers).tier for request in requests]
        if isinstance(subject, Complexity):
            score = np.array([subject.score(request) for request in requests])
    if unknown := set(chosen) - set(traffic.models):
        raise ConfigurationError(f"the policy chose {sorted(unknown)[0]!r}, which is not one of the models {', '.join(traffic.models)}")
    columns = np.array([traffic.models.index(name) for name in chosen], dtype=np.intp)
    return Replayed(columns, traffic.usd[rows, columns], np.zeros(len(rows), dtype=bool), score)


def _cascaded(cascade: Cascade, traffic: Traffic, rows: Rows) -> Replayed:
    if unknown := [name for name in cascade.models if name not in traffic.models]:
        raise ConfigurationError(f"the cascade asks {unknown[0]!r}, which is not one of the models {', '.join(traffic.models)}")
    columns = [traffic.models.index(name) for name in cascade.models]
    kept, usd, doubt = np.zeros(len(rows), dtype=np.intp), np.zeros(len(rows)), np.zeros(len(rows))
    for place, row in enumerate(rows):
        for name, column in zip(cascade.models, columns, strict=True):
            answer = traffic.answers[row][column]
            usd[place] += traffic.usd[row, column]
            kept[place] = column
            if column == columns[-1]:
                break
            if answer is None:
                raise ConfigurationError(
                    f"a cascade judges answers, and the answer of {name!r} to {traffic.prompts[row]!r:.80} is not in the data; "
                    'it is recorded with Thrift(capture="text"), or given as the column "answer"'
                )
            confidence = cascade.confidence(traffic.prompts[row], answer, model=name)
            if column == columns[0]:
                doubt[place] = -confidence
            if confidence >= cascade.thresholds[cascade.models.index(name)]:
                break
    return Replayed(kept, usd, kept != columns[0], doubt, first_is_paid=True)
