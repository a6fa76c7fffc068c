"""A session that is in trouble goes on with a stronger model: a correction, the same question again, a loop that does not get on."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.cache.keys import canonical_json
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.policies.rules import PolicyWrapper
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers
from llmthrift_core.texts import as_texts

CORRECTIONS: Final = (
    r"(?:that|this|it|your answer|the (?:answer|result))(?:'s| is| was| looks| seems)(?: still| just| simply| completely)? (?:wrong|false|"
    r"incorrect|mistaken|not (?:right|correct|true|what i (?:asked|meant|wanted|said)))|you(?:'re| are| were) (?:wrong|mistaken)|"
    r"you (?:made|have made) (?:a|another|the same) mistake|you (?:misunderstood|got (?:it|that) wrong)|"
    r"(?:still|does(?:n't| not)|did(?:n't| not)) (?:not )?work(?:ing)?|try (?:it )?again|same error|that does(?:n't| not) help|"
    r"no[,.!] (?:i (?:said|meant|asked|want)|that|not)|i (?:already )?(?:said|told you)|not what i (?:asked|meant|wanted)|"
    r"(?:das|es) (?:ist|war|stimmt) (?:immer noch )?(?:falsch|nicht)|stimmt (?:so )?nicht|du irrst|das meinte ich nicht|"
    r"versuch(?:e|'s)? (?:es )?noch ?(?:ein)?mal"
)
"""What people say to an answer that was wrong, in English and German. Give your own where yours say it otherwise."""
_MOST_CHARS: Final = 600  # a correction is short; a long text that holds the words is something else


@dataclass(slots=True)
class _Session:
    """What is remembered of one session.

    Attributes:
        tier: that was decided last.
        least: the tier below which it does not go any more; None before any trouble.
        seen: troubles that it was raised for.
        questions: of late, to know one that is asked again, each with the length of the conversation.
    """

    tier: str
    at: float
    least: str | None = None
    seen: set[str] = field(default_factory=set)
    questions: dict[str, int] = field(default_factory=dict)


class Upgrading(PolicyWrapper):
    """Goes one tier up, once for each trouble, and stays there for the session.

    A trouble is a user's correction ("that was wrong"), a question that is asked again after its answer, and a loop in which a tool is
    called with the same arguments for the `repeats`-th time. An answer from the cache asks no policy: what is asked again word by word,
    with the same conversation before it, is answered as before. Calls belong together by user, session (or run) and call site; those with
    neither are decided one by one. What is remembered is this process's.

    Args:
        policy: decides first: whatever a router takes as its policy.
        repeats: so many equal tool calls since the last question are a trouble; None: none are.
        corrections: regular expressions of what users say; () to look for none.
        retries: whether a question that is asked again is a trouble.
        forget_seconds: a session that was idle for so long begins anew.
        most_sessions: how many are remembered; the ones idle for longest are forgotten.
        clock: seconds; for tests.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core import attribute
    >>> from llmthrift_core.attribution import current_attribution
    >>> from llmthrift_core.routing import RouteRequest, Tiers, Upgrading
    >>> policy, tiers = Upgrading(lambda request: "small"), Tiers(("small", "large"))
    >>> with attribute(session="s1"):
    ...     who = current_attribution()
    >>> policy.decide(RouteRequest("When does it open?", attribution=who), tiers).tier
    'small'
    >>> policy.decide(RouteRequest("That's wrong.", history_messages=3, attribution=who), tiers).tier
    'large'
    """

    decides_each_step: Final = True

    def __init__(
        self,
        policy: Any,
        *,
        repeats: int | None = 3,
        corrections: str | Sequence[str] = CORRECTIONS,
        retries: bool = True,
        forget_seconds: float = 1_800.0,
        most_sessions: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(policy)
        if repeats is not None and repeats < 2:
            raise ConfigurationError(f"repeats must be 2 or more, or None, not {repeats!r}")
        if not forget_seconds > 0 or most_sessions < 1:
            raise ConfigurationError(
                f"forget_seconds={forget_seconds!r} must be positive, most_sessions={most_sessions!r} 1 or more",
            )
        patterns = as_texts("corrections", corrections)
        try:
            self._corrections = re.compile("|".join(rf"(?<!\w)(?:{each})(?!\w)" for each in patterns), re.IGNORECASE) if patterns else None
        except re.error as error:
            raise ConfigurationError(f"not a regular expression: {error.pattern!r}: {error}") from None
        self._repeats, self._retries = repeats, retries
        self._forget_seconds, self._most_sessions, self._clock = forget_seconds, most_sessions, clock
        self._parts = repr((repeats, patterns, retries, forget_seconds))
        self._sessions: OrderedDict[tuple[str | None, str, str | None], _Session] = OrderedDict()
        self._lock = ForkedLock()

    @property
    def version(self) -> str:
        """The policy's version, followed by a hash of the options."""
        return self._version_with(self._parts)

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The policy's choice, or a stronger tier where the session is, or was, in trouble.

        Raises:
            NoModelQualifiesError: the policy refuses.
        """
        decision = self.policy.decide(request, tiers)
        key = request.session_key
        if key is None:
            return decision
        names, now = tiers.names, self._clock()
        with self._lock:
            session = self._sessions.get(key)
            if session is None or now - session.at > self._forget_seconds:
                session = self._sessions[key] = _Session(decision.tier, now)
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._most_sessions:
                self._sessions.popitem(last=False)
            trouble = self._trouble(request, session)
            if trouble is not None:
                before = max((_place(names, each) for each in (session.tier, session.least, decision.tier)), default=0)
                session.least = names[min(before + 1, len(names) - 1)]
            if session.least is not None and _place(names, session.least) > names.index(decision.tier):
                why = "a trouble earlier in the session" if trouble is None else trouble
                decision = replace(decision.instead(session.least, why), explored=False)
            session.tier, session.at = decision.tier, now
        return decision

    def _trouble(self, request: RouteRequest, session: _Session) -> str | None:
        """What is wrong now and was not seen before; None where nothing is."""
        found: list[tuple[str, str]] = []
        question = " ".join(request.question.lower().split())
        if request.history_messages > 1 and self._corrections is not None and self._corrections.search(request.question[:_MOST_CHARS]):
            found.append((f"correction {question}", "the user corrects an answer"))
        if question and self._retries:
            asked_at = session.questions.get(question)
            if asked_at is not None and request.history_messages > asked_at and not request.tool_calls():
                found.append((f"retry {question} {request.history_messages}", "the question is asked again"))
            session.questions[question] = max(asked_at or 0, request.history_messages)
            while len(session.questions) > 32:
                session.questions.pop(next(iter(session.questions)))
        if self._repeats is not None and (calls := request.tool_calls()):
            last = _call_key(calls[-1])
            times = sum(_call_key(each) == last for each in calls)
            if times and times % self._repeats == 0:
                found.append((f"loop {question} {last} {times}", f"{calls[-1].name} was called {times} times with the same arguments"))
        for name, why in found:
            if name not in session.seen:
                session.seen.add(name)
                return why
        return None


def _call_key(call: Any) -> str:
    try:
        return f"{call.name} {canonical_json(call.arguments)!r}"
    except Exception:  # arguments of a form that JSON does not have
        return f"{call.name} {call.arguments!r}"


def _place(names: Sequence[str], tier: str | None) -> int:
    return names.index(tier) if tier in names else -1
