"""Under which name a router has the model that the ledger says has answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.texts import as_texts

_RELEASE: Final = re.compile(r"[-@](?:\d{4}-?\d{2}-?\d{2}|\d{3,4}|latest)$")
"""What providers add to a model's name when they answer: "gpt-4o-2024-08-06", "claude-3-5-haiku@20241022", "gpt-4-0613"."""


def checked_names(models: Mapping[str, str]) -> dict[str, str]:
    """By tier, the name of its model.

    Raises:
        ConfigurationError: something else was given.
    """
    if not isinstance(models, Mapping) or not models or not all(isinstance(text, str) and text for text in models.values()):
        raise ConfigurationError(f'models must map tiers to names of models, such as {{"small": "gpt-4o-mini"}}, not {models!r:.200}')
    return dict(models)


def names_of_calls(models: Mapping[str, float | str] | Sequence[str] | None) -> Callable[[Mapping[str, Any]], Sequence[str]]:
    """A function from a call of the ledger (its columns `model` and `tier`) to the names under which `models` has what answered it: none,
    one, or several of one model. Without `models`, the tier or, where nothing was routed, the model.

    A name's own text, or the model's name that is given as its price, stands for that model and its dated releases; the tier tells names of
    one model apart, and alone tells which calls are meant by a name with a number as its price.

    >>> names_of = names_of_calls({"small": "gpt-4o-mini"})
    >>> names_of({"model": "gpt-4o-mini-2024-07-18", "tier": None}), names_of({"model": "gpt-4o", "tier": "large"})
    (['small'], [])
    """
    if models is None:
        return lambda call: [call["tier"] or call["model"]]
    if not isinstance(models, Mapping):
        models = {name: name for name in as_texts("models", models)}
    names: dict[str, list[str]] = {}
    for name, given in models.items():
        names.setdefault(given if isinstance(given, str) else name, []).append(name)

    def names_of(call: Mapping[str, Any]) -> Sequence[str]:
        model, tier = call["model"], call["tier"]
        found = names.get(model) or names.get(_RELEASE.sub("", model), [])
        if tier in found or (tier in models and not isinstance(models[tier], str)):
            return [tier]
        return found

    return names_of
