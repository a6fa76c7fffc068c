"""Forget a user in what budgets keep: the amounts stay, under a name that says nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from secrets import token_hex
from typing import Any, Final

from llmthrift_core.budgets.scopes import encode_scope

# What a scope may hold beside the user, and what tells nothing of a person. All else, tags above all, may.
_IMPERSONAL: Final = frozenset({"model", "provider", "feature", "request_type", "prompt_version", "config_version", "call_site"})


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
