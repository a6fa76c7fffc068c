"""Forget a user in what budgets keep: the amounts stay, under a name that says nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Final

from llmthrift_core.budgets.scopes import encode_scope

# What a scope may hold beside the user, and what tells nothing of a person. All else, tags above all, may.
_IMPERSONAL: Final = frozenset({"model", "provider", "feature", "request_type", "prompt_version", "config_version", "call_site"})


class Erasure:
    """New names for the scopes of a user, the same in every window and hold.

    >>> erasure = Erasure("ada")
    >>> erasure.of_scope('{"feature":"chat","user":"bob"}') is None
    True
    >>> json.loads(erasure.of_scope('{"feature":"chat","user":"ada"}'))["feature"]
    'chat'

    Args:
        user: who is forgotten.
    """

    def __init__(self, user: str) -> None:
        self._user = user
        self._name = f"erased-{token_hex(8)}"  # not a hash of the name, which could be guessed

    def of_scope(self, scope: str) -> str | None:
        """The new name of a scope; None where it does not name the user."""
        values = json.loads(scope)
        if not isinstance(values, dict) or values.get("user") != self._user:
            return None
        return encode_scope({name: value if value is None or name in _IMPERSONAL else self._name for name, value in values.items()})

    def of_parts(self, parts: Sequence[Sequence[Any]]) -> list[list[Any]] | None:
        """The windows of a hold, each as [budget, scope, start], under their new names; None where they do not name the user."""
        renamed = [[budget, self.of_scope(scope) or scope, start] for budget, scope, start in parts]
        return renamed if any(new[1] != old[1] for new, old in zip(renamed, parts, strict=True)) else None
