"""Names of a package that are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, tuple[str, ...]], *, extra: tuple[str, ...] = ()) -> Callable[[str], Any]:
    """A module's `__getattr__` that imports names from their homes.

    Args:
        package: the module whose names they are.
        modules: by module, the names that it defines.
        extra: the extra that brings what these modules import, and the distribution that is missing without it; then its import names,
            where they differ.

    Raises:
        AttributeError: no such name.
        MissingExtraError: what the extra brings is not installed.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(homes[name]), name)
        except ModuleNotFoundError as error:
            if not extra or (error.name or "").partition(".")[0] not in (extra[2:] or extra[1:]):
                raise
            from llmthrift_core.errors import MissingExtraError

            raise MissingExtraError(extra[0], extra[1]) from None

    return load
