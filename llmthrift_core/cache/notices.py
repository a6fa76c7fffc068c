"""Invalidation by a message, as a webhook of a content system or a price list receives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.texts import as_texts

_NAMES: Final = ("sources", "tags", "scope", "namespace")


class Invalidating(Protocol):
    """A `Thrift`."""

    def invalidate(
        self, *, tag: str | None = None, source: str | None = None, scope: Mapping[str, str] | None = None, namespace: str | None = None
    ) -> int: ...


def invalidate_by_notice(thrift: Invalidating, notice: Any) -> int:
    """Remove the cached answers that a message names, exact ones and those found by meaning. Returns how many.

    Args:
        notice: what the JSON of the message says: an object with `sources` and `tags`, each a text or a list of texts, whose answers go if
            they have any of them, and `scope` and `namespace` as for `Thrift.invalidate`, which every one of them must fit. Nothing else:
            a message that is not understood removes nothing.

    Raises:
        ConfigurationError: not such an object, one that names nothing, or a value that is no text.
        StorageError: the database cannot be written; the message is to be sent again.

    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.cache import invalidate_by_notice
    >>> invalidate_by_notice(Thrift(":memory:"), {"sources": ["prices.pdf", "manual.pdf"], "namespace": "tenant-7"})
    0
    """
    if not isinstance(notice, Mapping):
        raise ConfigurationError(f"a notice must be an object such as {{'sources': ['manual.pdf']}}, not {type(notice).__name__}")
    if unknown := [str(name) for name in notice if name not in _NAMES]:
        raise ConfigurationError(f"a notice has {', '.join(_NAMES)}, not {unknown[0]!r}")
    scope, namespace = notice.get("scope"), notice.get("namespace")
    if scope is not None and not isinstance(scope, Mapping):
        raise ConfigurationError(f"a notice's scope must be an object, not {type(scope).__name__}")
    labels = [("source", each) for each in as_texts("sources", notice.get("sources") or ())]
    labels += [("tag", each) for each in as_texts("tags", notice.get("tags") or ())]
    for kind, label in labels:
        if not isinstance(label, str) or not label:
            raise ConfigurationError(f"a {kind} in a notice must be a text that is not empty, not {label!r}")
    if not labels and not scope and namespace is None:
        raise ConfigurationError(f"a notice must name what is to go: {', '.join(_NAMES)}")
    removed = 0
    for kind, label in labels or [("", "")]:
        named: dict[str, Any] = {kind: label} if kind else {}
        removed += thrift.invalidate(**named, scope=scope, namespace=namespace)
    return removed
