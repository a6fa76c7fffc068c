"""Recent scores of models, out of the ledger: read in the background, asked for in microseconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from llmthrift_core.background.refreshing import Refreshing
from llmthrift_core.ledger.judged import JudgedCall, read_judged
from llmthrift_core.moments import DAY_US
from llmthrift_core.money import NANO_PER_USD
from llmthrift_core.routing.adaptive.evidence import Evidence, JudgedAnswer, ModelScore
from llmthrift_core.routing.models import names_of_calls
from llmthrift_core.storage.tables import calls, feedback

if TYPE_CHECKING:
    from llmthrift_core.host import Host

Group = tuple[str, str | None]
"""A tier, and a call site or all of them."""

_MOST_JUDGEMENTS: Final = 20_000
"""So many of the last judgements are read to begin with, and later at once."""
_READ_AGAIN: Final = 1_000
"""So many judgements are read once more with those after them: a transaction may commit after another that began later."""
_MOST_GROUPS: Final = 2_000
"""Call sites beyond these are forgotten, those first of which nothing was heard for longest."""
_STALE_AFTER: Final = 0.25
"""Half-lives after the last answer at which what is known counts half for exploring: that a model got better is seen by trying alone."""


class LedgerScores:
    """The judged answers of a router's models, by call site and over all call sites.

    What was judged until now is read at once; after that, a question that finds the scores older than `refresh_seconds` is answered from
    what is known, and has a thread of its own read what was judged since. Nothing is read while nobody asks, and nobody waits for a
    reading. While the database cannot be read, the scores stay as they are; the failure is counted and logged.

    Left out are answers found by meaning, which were given to another question, and what judges and routers asked for themselves.

    Args:
        thrift: whose ledger.
        models: by tier, the model's name; it stands for its dated releases too. Of one model in two tiers, routed answers count alone.
        half_life_days: after which an answer counts half as much.
        refresh_seconds: how old scores may be.
    """

    def __init__(self, thrift: Host, models: Mapping[str, str], *, half_life_days: float, refresh_seconds: float) -> None:
        self._thrift = thrift
        self._names_of = names_of_calls(models)
        self._half_life_us = half_life_days * DAY_US
        self._groups: OrderedDict[Group, Evidence] = OrderedDict()
        self._scores: dict[Group, tuple[ModelScore, int]] = {}
        self._read_to = -1
        self._changes = 0
        failed = partial(thrift.note_failure, "routing scores")
        self._refreshing = Refreshing(self._read, seconds=refresh_seconds, clock=thrift.now, failed=failed, name="llmthrift-scores")
        self.refresh()

    def score(self, tier: str, call_site: str | None) -> ModelScore | None:
        """How a tier's model did at a call site, or at all of them (None); None where no answer was judged. Never waits."""
        self._refreshing.if_old()
        found = self._scores.get((tier, call_site))
        if found is None:
            return None
        score, as_of_us = found
        now_us = self._thrift.now_us()
        return replace(score, fresh=score.fresh * 2.0 ** (-max(0, now_us - as_of_us) / (_STALE_AFTER * self._half_life_us)))

    def refresh(self) -> None:
        """Read what was judged since the last time, now. Decisions have it done by themselves, in the background; never raises."""
        self._refreshing.now()

    def health(self) -> dict[str, Any]:
        """What is known: `scores` of a tier and a call site, `changes` found, `errors` of readings."""
        return {"scores": len(self._scores), "changes": self._changes, "errors": self._refreshing.errors}

    def close(self) -> None:
        """Read no more, and wait for the reading under way."""
        self._refreshing.close()

    # --- steps ---

    def _read(self) -> None:
        self._thrift.flush()
        with self._thrift.database.read() as connection:
            last = connection.execute(select(func.max(feedback.c.id))).scalar_one() or 0
            if last == self._read_to:
                return
            since = max(self._read_to - _READ_AGAIN, last - _MOST_JUDGEMENTS)
            news = select(feedback.c.request_id).where(feedback.c.id > since)
            touched: set[Group] = set()
            for judged in read_judged(connection, since_us=None, until_us=None, where=[calls.c.request_id.in_(news)]):
                touched |= self._put(judged)
        for group in touched:
            evidence = self._groups[group]
            self._changes += evidence.settle()
            if (found := evidence.score(self._half_life_us)) is not None:
                self._scores[group] = found
        while len(self._groups) > _MOST_GROUPS:
            self._scores.pop(self._groups.popitem(last=False)[0], None)
        self._read_to = last

    def _put(self, judged: JudgedCall) -> set[Group]:
        call = judged.call
        tiers = self._names_of(call)
        if len(tiers) != 1 or call["cache"] == "semantic":
            return set()
        tier = tiers[0]
        cost = None if call["cache"] is not None or call["cost_nano_usd"] is None else call["cost_nano_usd"] / NANO_PER_USD
        answer = JudgedAnswer(call["at_us"], judged.quality, cost, call["input_tokens"], call["output_tokens"])
        groups: set[Group] = {(tier, call["call_site"]), (tier, None)}
        for group in groups:
            self._groups.setdefault(group, Evidence()).put(call["id"], answer)
            self._groups.move_to_end(group)
        return groups
