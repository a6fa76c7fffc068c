"""The application with llmthrift: promises are set, everything else is as it comes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage

from benchmarks.whole.replay import JUDGE, Clients, RecordedProvider
from benchmarks.whole.workload import AGENT, BEST_OF_NINE, STRONG, SUPPORT, WEAK, Asked
from llmthrift_core import Thrift, attribute
from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import JudgeError
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.quality import PointwiseJudge, labels_worth
from llmthrift_core.routing import RouteRequest, Tiers
from llmthrift_core.versions import Refit
from llmthrift_langchain import ChatRouter, ThriftCache, thrifty

LEVERS: Final = ("exact cache", "semantic cache", "routing", "cascade", "shortening", "prompt caching")
NEED_LABELS: Final = frozenset({"routing", "cascade"})
PARTS_OF: Final[Mapping[str, Collection[str]]] = {
    "exact cache": ("support",),
    "semantic cache": ("support",),
    "routing": ("knowledge (two models)", "knowledge (nine models)"),
    "cascade": ("arithmetic",),
    "shortening": ("documents",),
    "prompt caching": ("conversations",),
}
"""The parts whose dollars a lever changes; the ablations replay these."""
ERROR_RATE: Final = 0.01
MIN_QUALITY: Final = 0.98
_DAY: Final = 86_400.0
_REFIT_EVERY: Final = 20  # judged prompts
_OTHERS: Final = 2  # tiers that answer a judged prompt as well


class Thrifty:
    """The same parts as `Naive`, each behind a door of llmthrift.

    Args:
        off: levers that are switched off.
        nine: the names of the nine models with their prices.
        judged: the share of the routed requests whose answers are judged, drawn by the seed; None: as many as `labels_worth` says.
    """

    def __init__(
        self,
        thrift: Thrift,
        clients: Clients,
        *,
        off: Collection[str],
        nine: Mapping[str, float],
        judged: float | None = None,
        seed: int = 0,
    ) -> None:
        self._thrift, self._clients = thrift, clients
        self._random = random.Random(seed)
        self._share, self._draws = judged, random.Random(f"{seed} judged")
        self.labels = 0
        self.notes: list[str] = []
        thrift.budgets.add_limits(daily_usd=100, per_request_usd=2)
        caches = {"exact cache", "semantic cache"}.difference(off)
        cache: Any = (
            ThriftCache(thrift, semantic="semantic cache" in caches, ttl_seconds=_DAY, semantic_ttl_seconds=_DAY)
            if "exact cache" in caches
            else False
        )
        shortening = "shortening" not in off
        self._doors: dict[str, Any] = {
            "support": thrifty(clients[SUPPORT], thrift, cache=cache),
            "conversations": thrifty(
                clients[AGENT],
                thrift,
                cache=cache,
                prompt_caching="prompt caching" not in off,
            ),
            "documents": thrifty(clients[SUPPORT], thrift, cache=cache, shorten=Shorten([steps.Documents()]) if shortening else None),
        }
        dearest_last = sorted(nine, key=lambda name: (nine[name], name == BEST_OF_NINE))
        self._pools = {
            "knowledge (two models)": {WEAK: WEAK, STRONG: STRONG},
            "knowledge (nine models)": {name: name for name in dearest_last},
            "arithmetic": {WEAK: WEAK, STRONG: STRONG},
        }
        self._policies: dict[str, Any] = {}
        for part, models in self._pools.items():
            if ("cascade" if part == "arithmetic" else "routing") in off:
                self._doors[part] = thrifty(clients[list(models)[-1]], thrift, cache=cache)
                continue
            self._policies[part] = thrift.routers.follow(part, check_seconds=86_400)
            tiers = {name: clients[name] for name in models}
            self._doors[part] = ChatRouter(thrift, models=tiers, policy=self._policies[part], cache=cache)
        self._judge = PointwiseJudge(thrifty(clients[JUDGE], thrift, cache=False), name=JUDGE)
        self.judged = self.routed = 0  # requests
        self._calls, self._labels_of, self._look_at = Counter[str](), Counter[str](), Counter[str]()
        self._usd: dict[str, tuple[float, float]] = {}

    def answer(self, asked: Asked, messages: list[BaseMessage], run_id: Any) -> AIMessage:
        """The answer of the part's door."""
        door = self._doors[asked.part]
        if asked.tools:
            door = door.bind_tools(asked.tools)
        answer: AIMessage = door.invoke(messages, {"run_id": run_id})
        return answer

    def after(self, asked: Asked, messages: list[BaseMessage], run_id: str, answer: AIMessage, provider: RecordedProvider) -> None:
        """Where a request is to be judged, have other tiers answer it as well, judge all of it, and now and then learn."""
        part = asked.part
        if part not in self._policies or not provider.loopback.requests or not self._is_worth(part):
            return
        answered = str(answer.response_metadata.get("model_name"))
        with attribute(feature="labels", call_site=asked.call_site, tags={"labels": part}):
            self._label(asked, run_id, answered, provider)
            for name in [name for name in self._worth_asking(asked, self._pools[part]) if name != answered][:_OTHERS]:
                other_id = uuid4()
                thrifty(self._clients[name], self._thrift, cache=False).invoke(messages, {"run_id": other_id})
                self._label(asked, str(other_id), name, provider)
        self.judged += 1
        if self.judged % _REFIT_EVERY == 0:
            self._learn()

    def _is_worth(self, part: str) -> bool:
        """Whether a request is judged: as was stated beforehand, or where another label is worth its dollars by those so far."""
        self.routed += 1
        if self._share is not None:
            return self._draws.random() < self._share
        self._calls[part] += 1
        if self._calls[part] >= self._look_at[part]:
            self._look_at[part] = round(1.1 * self._calls[part]) + 5
            routed = sum(row["cost_usd"] for row in self._thrift.report(by="feature").to_dicts() if row["feature"] == part)
            labels = sum(row["cost_usd"] for row in self._thrift.report(by="tag:labels").to_dicts() if row["labels"] == part)
            self._usd[part] = float(routed) / self._calls[part], float(labels) / max(self._labels_of[part], 1)
        per_call, per_label = self._usd[part]
        return not per_label or self._labels_of[part] < labels_worth(self._calls[part], per_call, per_label)

    def _worth_asking(self, asked: Asked, models: Mapping[str, str]) -> list[str]:
        """The reference, what the newest version would choose, active or not, and the others at random."""
        reference = list(models)[-1]
        found = [reference]
        if asked.part != "arithmetic":
            found.append(
                self._policies[asked.part]
                .decide(RouteRequest(asked.question, attribution=Attribution(call_site=asked.call_site)), Tiers(tuple(models)))
                .tier
            )
        others = [name for name in models if name not in found]
        return list(dict.fromkeys([*found, *self._random.sample(others, len(others))]))

    def _label(self, asked: Asked, run_id: str, model: str, provider: RecordedProvider) -> None:
        recorded = asked.answers[model]
        provider.judged = recorded.quality
        try:
            judgement = self._judge(asked.question, recorded.text)
        except JudgeError as error:
            self.notes.append(f"not judged: {error}")
            return
        self._thrift.feedback(run_id, quality=judgement.quality, source=f"judge:{judgement.judge}")
        self.labels += 1
        self._labels_of[asked.part] += 1

    def _learn(self) -> None:
        refits = {
            part: Refit(
                models={name: name for name in self._pools[part]},
                default=None if part == "arithmetic" else list(self._pools[part])[-1],
                min_quality=MIN_QUALITY,
                min_new_examples=_REFIT_EVERY,
                growth=0.15,
                cascade=part == "arithmetic",
            )
            for part in self._policies
        }
        for part, outcome in self._thrift.routers.refit_together(refits, min_quality=MIN_QUALITY).items():
            self.notes.append(f"{part}: {outcome.why}")
            self._policies[part].look()
