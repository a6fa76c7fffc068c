"""The application with llmthrift: promises are set, everything else is as it comes."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage

from benchmarks.whole.replay import JUDGE, Clients, RecordedProvider
from benchmarks.whole.workload import AGENT, BEST_OF_NINE, STRONG, SUPPORT, WEAK, Asked
from llmthrift_core import Thrift, attribute
from llmthrift_core.errors import JudgeError
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.quality import PointwiseJudge
from llmthrift_core.routing import Cascade
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
        labels: the share of the routed requests that another tier, or two, answer as well; all of these answers are judged.
        nine: the names of the nine models with their prices.
    """

    def __init__(
        self, thrift: Thrift, clients: Clients, *, off: Collection[str], labels: float, nine: Mapping[str, float], seed: int = 0
    ) -> None:
        self._thrift, self._clients, self._share = thrift, clients, labels
        self._random = random.Random(seed)
        self.labels = 0
        self.notes: list[str] = []
        thrift.budgets.add_limits(daily_usd=100, per_request_usd=1)
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
        self._judged: dict[str, int] = {}
        self._newest: dict[str, Any] = {}

    def answer(self, asked: Asked, messages: list[BaseMessage], run_id: Any) -> AIMessage:
        """The answer of the part's door."""
        door = self._doors[asked.part]
        if asked.tools:
            door = door.bind_tools(asked.tools)
        answer: AIMessage = door.invoke(messages, {"run_id": run_id})
        return answer

    def after(self, asked: Asked, messages: list[BaseMessage], run_id: str, answer: AIMessage, provider: RecordedProvider) -> None:
        """Of a share of the routed requests, have other tiers answer as well, judge all of it, and now and then learn."""
        if asked.part not in self._policies or not provider.loopback.requests or self._random.random() >= self._share:
            return
        models = self._pools[asked.part]
        answered = str(answer.response_metadata.get("model_name"))
        self._label(asked, run_id, answered, provider)
        again = [name for name in self._worth_asking(asked, models) if name != answered][:_OTHERS]
        for name in again:
            other_id = uuid4()
            with attribute(feature="labels", call_site=asked.call_site):
                thrifty(self._clients[name], self._thrift, cache=False).invoke(messages, {"run_id": other_id})
            self._label(asked, str(other_id), name, provider)
        self._judged[asked.part] = self._judged.get(asked.part, 0) + 1
        if self._judged[asked.part] % _REFIT_EVERY == 0:
            self._learn(asked.part)

    def _worth_asking(self, asked: Asked, models: Mapping[str, str]) -> list[str]:
        """The reference, what the newest version would choose, active or not, and the others at random."""
        reference = list(models)[-1]
        found = [reference]
        if asked.part in self._newest:
            found.append(self._newest[asked.part].decide(asked.question, asked.call_site).tier)
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

    def _learn(self, part: str) -> None:
        models = self._pools[part]
        self._thrift.flush()
        if part == "arithmetic":
            examples = [each for each in self._thrift.examples(models=models) if each.call_site == part]
            cascade = Cascade(list(models), min_quality=MIN_QUALITY).fit(examples)
            if cascade.fitted:
                version = self._thrift.routers.save(cascade, name=part, note=f"{len(examples)} judged answers")
                self.notes.append(
                    f"{part}: version {version.version} of {len(examples)} judged answers, keeps from {cascade.thresholds[0]:.2f}"
                )
        else:
            refit = Refit(models=models, default=list(models)[-1], min_quality=MIN_QUALITY, min_new_examples=2 * _REFIT_EVERY)
            outcome = self._thrift.routers.refit(part, refit)
            if outcome.saved is not None:
                self._newest[part] = self._thrift.routers.load(part, outcome.saved.version)
            if outcome.saved is not None:
                self.notes.append(f"{part}: {'activated' if outcome.activated else 'not activated'}: {outcome.why}")
        self._policies[part].look()
