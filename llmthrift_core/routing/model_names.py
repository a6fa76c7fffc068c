"""Under which name a router has the model that the ledger says has answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from llmthrift_core.errors import ConfigurationError

_RELEASE: Final = re.compile(r"[-@](?:\d{4}-?\d{2}-?\d{2}|\d{3,4}|latest)$")
"""What providers add to a model's name when they answer: "gpt-4o-2024-08-06", "claude-3-5-haiku@20241022", "gpt-4-0613"."""


def names_of_models(models: Mapping[str, float | str] | None) -> Callable[[str], str | None]:
    """A function from a model of the ledger to the name under which `models` has it; None where it does not. Without `models` every model
    has its own name.

    A name's own text, or the model's name that is given as its price, stands for that model and its dated releases.

    Raises:
        ConfigurationError: two names for one model.

    >>> name_of = names_of_models({"small": "gpt-4o-mini"})
    >>> name_of("gpt-4o-mini-2024-07-18"), name_of("gpt-4o")
    ('small', None)
    """
    if models is None:
        return lambda model: model
    names: dict[str, str] = {}
    for name, given in models.items():
        model = given if isinstance(given, str) else name
        if model in names:
            raise ConfigurationError(
                f"{names[model]!r} and {name!r} are both the model {model!r}: the ledger cannot tell which of them answered"
            )
        names[model] = name
    return lambda model: names.get(model, names.get(_RELEASE.sub("", model)))
