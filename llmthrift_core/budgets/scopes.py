"""The windows that a call counts in: the values of the attributes by which budgets are kept apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attribution import EMPTY, FIELDS, Attribution, attribution_of

if TYPE_CHECKING:
    from llmthrift_core.budgets.budget import Budget

_FIELDS: Final = frozenset(FIELDS)
encode_scope = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
# What a scope may hold beside the user, and what tells nothing of a person. All else, tags above all, may.
_IMPERSONAL: Final = frozenset({"model", "provider", "feature", "request_type", "prompt_version", "config_version", "call_site"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Who is about to spend.

    Attributes:
        attribution: user, feature, session, run, tags and the rest.
        model: the model's name, where it is known.
        run: stands in for a run that the attribution does not name: nested calls share it.
    """

    attribution: Attribution = EMPTY
    model: str | None = None
    run: str | None = None

    def value(self, name: str) -> str | None:
        """The value of an attribute, or of the tag of that name."""
        if name == "model":
            return self.model
        if name == "run":
            return self.attribution.run or self.run
        if name in _FIELDS:
            value: str | None = getattr(self.attribution, name)
            return value
        return next((value for tag, value in self.attribution.tags if tag == name), None)

    def fits(self, budget: Budget) -> bool:
        """Whether the budget counts this spender."""
        return not budget.match or all(self.value(name) == value for name, value in budget.match.items())

    def key(self, budget: Budget) -> str:
        """The spender as the budget tells it from others: a JSON object, keys sorted; null where an attribute is missing."""
        return _key(tuple(budget.per), tuple(map(self.value, budget.per))) if budget.per else "{}"


@lru_cache(maxsize=4096)
def _key(names: tuple[str, ...], values: tuple[str | None, ...]) -> str:
    return encode_scope(dict(zip(names, values, strict=True)))


def scope_of(values: Mapping[str, Any]) -> Scope:
    """A Scope from loose values: attributes by name, "model", and tags under any other name."""
    given: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    for name, value in values.items():
        (given if name in _FIELDS else tags)[name] = value
    model = tags.pop("model", None)
    return Scope(attribution_of(tags, **given), None if model is None else str(model))


class Erasure:
    """New names for the scopes of a user, the same in every window and hold.

    >>> erasure = Erasure("ada", {"session": {"s1"}})
    >>> erasure.of_scope('{"feature":"chat","user":"bob"}') is None
    True
    >>> json.loads(erasure.of_scope('{"feature":"chat","user":"ada"}'))["feature"]
    'chat'
    >>> erasure.of_scope('{"session":"s1"}') == erasure.of_scope('{"session":"s2"}')
    False

    Args:
        user: who is forgotten.
        names: further names that tell of nobody else, by attribute or tag: sessions, runs.
    """

    def __init__(self, user: str, names: Mapping[str, Set[str]]) -> None:
        self._user = user
        self._names = names
        # Not hashes, which could be guessed; and one for each, so that windows that were apart stay so.
        self._renamed: dict[tuple[str, str], str] = defaultdict(lambda: f"erased-{token_hex(8)}")

    def of_scope(self, scope: str) -> str | None:
        """The new name of a scope; None where it does not name the user."""
        values = json.loads(scope)
        if not isinstance(values, dict):
            return None
        whose = values.get("user")
        if whose == self._user:
            told = [name for name, value in values.items() if value is not None and name not in _IMPERSONAL]
        elif whose is None:
            told = [name for name, value in values.items() if value in self._names.get(name, ())]
        else:
            told = []
        return encode_scope({**values, **{name: self._renamed[name, values[name]] for name in told}}) if told else None

    def of_parts(self, parts: Sequence[Sequence[Any]]) -> list[list[Any]] | None:
        """The windows of a hold, each as [budget, scope, start], under their new names; None where they do not name the user."""
        renamed = [[budget, self.of_scope(scope) or scope, start] for budget, scope, start in parts]
        return renamed if any(new[1] != old[1] for new, old in zip(renamed, parts, strict=True)) else None
