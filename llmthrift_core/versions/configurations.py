"""`Configurations`: prompts, models and any other JSON, kept in versions, with a way back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, overload
from weakref import WeakValueDictionary

from llmthrift_core.attribution import Attribution, attribute
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.storage.tables import calls
from llmthrift_core.texts import SECRETS
from llmthrift_core.versions.comparison import Labels
from llmthrift_core.versions.kept import KeptVersions
from llmthrift_core.versions.store import Version, label_of

if TYPE_CHECKING:
    from llmthrift_core.host import Host
    from llmthrift_core.versions.tuning import Tuning

_NAMES: Final = re.compile(
    r"(^|[_-])(api[_-]?key|secret|password|passwd|authorization|private[_-]?key|(access|auth|bearer|refresh)[_-]?token)s?$", re.IGNORECASE
)
_REFERENCE: Final = re.compile(r"\$\{?[A-Z][A-Z0-9_]*\}?")
"""A variable of the environment, such as $OPENAI_API_KEY: it says where the key is, and is none."""


_LONGEST_FOLLOWED: Final = 80  # the name of an experiment on it is longer


@dataclass(frozen=True, slots=True)
class Configuration:
    """One version of a configuration.

    Attributes:
        name: of the configuration.
        version: 1, 2, 3, ...
        value: what was saved.
    """

    name: str
    version: int
    value: Any

    @property
    def label(self) -> str:
        """What the ledger calls it: "NAME@3"."""
        return label_of(self.name, self.version)

    @contextmanager
    def in_use(self, attribute_name: Literal["prompt_version", "config_version"] = "prompt_version") -> Iterator[Attribution]:
        """Every call inside of the block is recorded with this version.

        Args:
            attribute_name: where. A router that is followed is recorded as `config_version` where nothing else is.
        """
        if attribute_name not in ("prompt_version", "config_version"):
            raise ConfigurationError(f'attribute_name must be "prompt_version" or "config_version", not {attribute_name!r}')
        is_prompt = attribute_name == "prompt_version"
        with attribute(prompt_version=self.label if is_prompt else None, config_version=None if is_prompt else self.label) as merged:
            yield merged


class Configurations(KeptVersions):
    """Versions of configurations, by name. One of them is active: the last that was saved, or what was rolled back to.

    A configuration is any JSON: a prompt's template, the models of a router, parameters. `load` reads the database, in well under a
    millisecond; a process that loads for each request follows a roll-back at once. `check` compares calls that carry a version
    (`Configuration.in_use`).

    >>> from llmthrift_core import Thrift
    >>> with Thrift(":memory:") as thrift:
    ...     _ = thrift.configurations.save("support.prompt", {"template": "Answer in one sentence: {question}"}, note="shorter")
    ...     prompt = thrift.configurations.load("support.prompt")
    ...     with prompt.in_use() as attribution:
    ...         prompt.value["template"].format(question="Why?"), attribution.prompt_version
    ('Answer in one sentence: Why?', 'support.prompt@1')
    """

    kind = "configuration"
    labels = Labels(calls.c.prompt_version, calls.c.config_version)

    def __init__(self, thrift: Host) -> None:
        super().__init__(thrift)
        self._followed: WeakValueDictionary[str, Tuning] = WeakValueDictionary()

    def follow(self, name: str, *, check_seconds: float = 10.0) -> Tuning:
        """The settings of doors, always of the active version of a name: what `tuning=` takes. Before the first they stay as built.

        A version is a mapping of `cache_ttl_seconds`, `semantic`, `max_tier`, `output_cap_tokens` and `shorten`; what is left out stays
        as the door was built. A change made by any process is in force in all of them after `check_seconds`.

        Raises:
            ConfigurationError: a name or time that cannot be used.
        """
        from llmthrift_core.versions.tuning import Tuning

        if not isinstance(name, str) or not name or "@" in name or len(name) > _LONGEST_FOLLOWED:
            raise ConfigurationError(f'name must be a text of at most {_LONGEST_FOLLOWED} characters without "@", not {name!r}')
        if isinstance(check_seconds, bool) or not isinstance(check_seconds, int | float) or not 0 < check_seconds <= 86_400:
            raise ConfigurationError(f"check_seconds must be above 0 and at most a day, not {check_seconds!r}")
        followed: Tuning | None = self._followed.get(name)
        if followed is None:
            followed = Tuning(
                self._thrift,
                name,
                active=lambda: self.store.active(name),
                load=lambda number: self.load(name, number).value,
                check_seconds=check_seconds,
            )
            self._thrift.attach(followed)
            self._followed[name] = followed
        return followed

    @overload
    def save(self, name: str, value: Any, *, note: str | None = None) -> Version: ...

    @overload
    def save(self, name: str, value: Any, *, note: str | None = None, latest: int, active: int | None = None) -> Version | None: ...

    @overload
    def save(self, name: str, value: Any, *, note: str | None = None, latest: None = None, active: int) -> Version | None: ...

    def save(
        self, name: str, value: Any, *, note: str | None = None, latest: int | None = None, active: int | None = None
    ) -> Version | None:
        """Keep a value as the next version of a name, and make it the active one.

        Args:
            latest: only where this is still the number of the latest version; None is returned where it is not.
            active: only where this is still the number of the active version, 0 where none was, likewise: nobody's change that came
                between reading and saving is overridden.

        Raises:
            ConfigurationError: the value is no JSON or holds what looks like a credential, or a name or note that cannot be stored.
            StorageError: the database cannot be written.
        """
        try:
            state = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            if json.loads(state) != value:
                raise ValueError("JSON gives back something else")
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"the value of configuration {name!r} must be JSON (texts, numbers, lists, and dicts with texts as keys): "
                f"{type(error).__name__}"
            ) from None
        if found := list(secrets_in(value)):
            raise ConfigurationError(
                f"configuration {name!r} holds what looks like a credential at {', '.join(found)}; nothing secret is stored: name the "
                "environment variable instead, such as $OPENAI_API_KEY"
            )
        return self.store.add(name, state, note=note, latest=latest, active=active)

    def load(self, name: str, version: int | None = None) -> Configuration:
        """A saved configuration.

        Args:
            version: None is the active one.

        Raises:
            ConfigurationError: there is no such version.
            StorageError: what is stored is damaged, or the database cannot be read.
        """
        number, state = self.store.state(name, version)
        try:
            return Configuration(name, number, json.loads(state))
        except ValueError:
            raise StorageError(f"version {number} of configuration {name!r} cannot be read; roll back, or save it again") from None


def secrets_in(value: Any, path: str = "") -> Iterator[str]:
    """Where in a JSON value something looks like a credential, such as "models.strong.api_key"; never what it is."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            place = f"{path}.{name}" if path else str(name)
            if isinstance(inner, str) and inner and _NAMES.search(str(name)) and not _REFERENCE.fullmatch(inner):
                yield place
            else:
                yield from secrets_in(inner, place)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from secrets_in(inner, f"{path}[{number}]")
    elif isinstance(value, str) and SECRETS.search(value):
        yield path or "the value"
