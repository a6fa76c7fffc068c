"""Explanations why a question is answered from the semantic cache or not, in one scope or in the newest ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from llmthrift_core.cache.semantic.hit import Explanation
from llmthrift_core.cache.semantic.policy import DecisionPolicy
from llmthrift_core.cache.semantic.search import Asked, Search
from llmthrift_core.cache.semantic.store import RecentScope

MOST_SCOPES: Final = 20
_BY_DECISION: Final = {"hit": 0, "shadow": 1, "miss": 2}


def explained(search: Search, policy: DecisionPolicy, asked: Asked) -> Explanation:
    """What is near to a question in its scope, what speaks against it, and what the policy would decide.

    Raises:
        EmbeddingError, StorageError: the embedder or the database failed.
    """
    if search.equal(asked) is not None:
        return Explanation("hit", "an equal question is cached", 0.0, ())
    if asked.is_exact_only:
        return Explanation("miss", "an empty or very long question is matched exactly only", None, ())
    match = search.look(asked)
    considered = search.considered(asked)
    if not considered:
        return Explanation("miss", "nothing is cached in this scope", None, ())
    if match is None:
        refused = next((each.refused for each in considered if each.shares_answer and each.refused), "it has expired")
        return Explanation("miss", f"another question: {refused}", None, considered)
    decision = policy.judge(match.candidate.features, match.similarity)
    return Explanation(decision.verdict, decision.reason, decision.wrong, considered)


def explained_in(search: Search, policy: DecisionPolicy, question: str, scopes: Iterable[RecentScope]) -> Explanation:
    """The same for the scope where the question is answered, or else where the nearest question is.

    Args:
        scopes: those that are searched, the newest first.

    Raises:
        EmbeddingError, StorageError: as `explained`.
    """
    found: list[Explanation] = []
    for each in scopes:
        explanation = explained(search, policy, search.in_place(question, each.digest))
        found.append(replace(explanation, scope=_named(each, len(found) + 1)))
    if not found:
        return Explanation("miss", "nothing is cached in this namespace", None, ())
    best = min(found, key=lambda each: (_BY_DECISION.get(each.decision, 2), -max((one.similarity for one in each.considered), default=-1)))
    return replace(best, scope=f"{best.scope}, of {len(found)} searched" if len(found) > 1 else best.scope)


def _named(scope: RecentScope, place: int) -> str:
    """A scope as somebody knows it: it is a digest of all that must be equal."""
    newest = "the newest scope" if place == 1 else f"the scope number {place} from the newest"
    model = f" of {scope.model}" if scope.model else ""
    return f"{newest}{model}, where the last question was {scope.question[:80]!r}"
