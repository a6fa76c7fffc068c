"""Which windows a call counts in: the values of the attributes by which budgets are kept apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attribution import EMPTY, FIELDS, Attribution, attribution_of

if TYPE_CHECKING:
    from llmthrift_core.budgets.budget import Budget

_FIELDS: Final = frozenset(FIELDS)
encode_scope = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


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
