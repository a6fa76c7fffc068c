"""`RouterVersions`: what routers and cascades learned, kept in the database, with a way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.moments import from_us
from llmthrift_core.storable import is_storable
from llmthrift_core.storage.router_statements import (
    ACTIVE_STATE,
    ADD_VERSION,
    LIST_VERSIONS,
    LOCK_VERSIONS,
    NAMES_OF_ROUTERS,
    STATE_OF_VERSION,
    USE_VERSION,
)

if TYPE_CHECKING:
    from llmthrift_core.routing.cascade import Cascade
    from llmthrift_core.routing.checks import Check
    from llmthrift_core.routing.learned import LearnedRouter
    from llmthrift_core.routing.representation import Embedder
    from llmthrift_core.storage.database import Database


@dataclass(frozen=True, slots=True)
class RouterVersion:
    """One version of a router or a cascade.

    Attributes:
        name: of the router.
        version: 1, 2, 3, ...
        created_at: when it was saved, UTC.
        note: what the user wrote down.
        active: whether `load` gives this one.
        size_bytes: of what is stored.
    """

    name: str
    version: int
    created_at: datetime
    note: str | None
    active: bool
    size_bytes: int


class RouterVersions:
    """Versions of fitted routers and cascades, by name. One of them is active: the last that was saved, or what was rolled back to.

    Processes that have loaded a version keep it until they load again.

    Args:
        database: where they are kept.
        clock: seconds since the epoch.

    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.routing import LearnedRouter
    >>> with Thrift(":memory:") as thrift:
    ...     saved = thrift.routers.save(LearnedRouter(models={"weak": 0.6, "strong": 12.0}), name="support", note="before the first fit")
    ...     saved.version, thrift.routers.load("support").models
    (1, ('weak', 'strong'))
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def save(self, router: LearnedRouter | Cascade, *, name: str, note: str | None = None) -> RouterVersion:
        """Keep what a router or a cascade learned as the next version of a name, and make it the active one.

        Raises:
            ConfigurationError: something else than a router or a cascade, or a name that cannot be stored.
            StorageError: the database cannot be written.
        """
        from llmthrift_core.routing.cascade import Cascade
        from llmthrift_core.routing.learned import LearnedRouter

        if not isinstance(router, LearnedRouter | Cascade):
            raise ConfigurationError(f"only a LearnedRouter or a Cascade can be saved, not a {type(router).__name__}")
        for what, text in (("name", name), ("note", note)):
            if not (what == "note" and text is None) and not (isinstance(text, str) and text and is_storable(text)):
                raise ConfigurationError(f"{what} must be a text, not {text!r}")
        state, created_us = router.to_bytes(), int(self._clock() * 1e6)
        while True:  # until no other process takes the same number
            with self._database.transaction() as transaction:
                kept = transaction.fetch_all(LOCK_VERSIONS, (name,))
                version = int(kept[-1][0]) + 1 if kept else 1
                if transaction.execute(ADD_VERSION, (name, version, state, created_us, note)):
                    transaction.execute(USE_VERSION, (version, name))
                    return RouterVersion(name, version, from_us(created_us), note, True, len(state))

    def load(
        self, name: str, version: int | None = None, *, embedder: Embedder | None = None, checks: Iterable[Check] | None = None
    ) -> LearnedRouter | Cascade:
        """A saved router or cascade.

        Args:
            version: None is the active one.
            embedder: of a router that was fitted with one.
            checks: of a cascade that has its own.

        Raises:
            ConfigurationError: there is no such version, or it needs another embedder or other checks.
            StorageError: what is stored is damaged, or the database cannot be read.
        """
        from llmthrift_core.routing import cascade, learned
        from llmthrift_core.routing.state import kind_of

        row = (
            self._database.fetch_one(ACTIVE_STATE, (name,))
            if version is None
            else self._database.fetch_one(STATE_OF_VERSION, (name, version))
        )
        if row is None:
            raise self._missing(name, version)
        number, state = int(row[0]), bytes(row[1])
        try:
            kind = kind_of(state)
        except ConfigurationError as error:
            raise StorageError(f"version {number} of router {name!r} cannot be read: {error}; roll back, or fit again") from None
        try:
            if kind == learned.KIND:
                return learned.LearnedRouter.from_bytes(state, embedder=embedder)
            if kind == cascade.KIND:
                return cascade.Cascade.from_bytes(state, checks=checks)
        except (LookupError, TypeError, AttributeError) as error:
            raise StorageError(
                f"version {number} of router {name!r} lacks a part ({type(error).__name__}); roll back, or fit again"
            ) from None
        raise StorageError(f"version {number} of router {name!r} is a {kind!r:.80}, which this release of llmthrift does not know")

    def versions(self, name: str) -> list[RouterVersion]:
        """The versions of a name, newest first; none of a name that is not known. Raises StorageError."""
        return [
            RouterVersion(name, int(version), from_us(created_us), note, bool(active), int(size))
            for version, created_us, note, active, size in self._database.fetch_all(LIST_VERSIONS, (name,))
        ]

    def names(self) -> list[str]:
        """The names that have a version. Raises StorageError."""
        return [name for (name,) in self._database.fetch_all(NAMES_OF_ROUTERS)]

    def roll_back(self, name: str, version: int | None = None) -> RouterVersion:
        """Make an earlier version the active one. Nothing is deleted: a later version can be made active by its number.

        Args:
            version: None is the one before the active one.

        Raises:
            ConfigurationError: there is no such version.
            StorageError: the database cannot be written.
        """
        with self._database.transaction() as transaction:
            kept = transaction.fetch_all(LOCK_VERSIONS, (name,))
            numbers = [int(number) for number, _ in kept]
            active = next((int(number) for number, is_active in kept if is_active), None)
            if version is None and active is not None:
                version = next((number for number in reversed(numbers) if number < active), None)
                if version is None:
                    raise ConfigurationError(f"version {active} of router {name!r} is the first: there is nothing before it")
            if version not in numbers:
                raise self._missing(name, version)
            transaction.execute(USE_VERSION, (version, name))
        return next(each for each in self.versions(name) if each.version == version)

    def _missing(self, name: str, version: int | None) -> ConfigurationError:
        if numbers := [str(each.version) for each in self.versions(name)]:
            return ConfigurationError(f"router {name!r} has no version {version}; there are: {', '.join(reversed(numbers))}")
        return ConfigurationError(f"there is no router {name!r}; there are: {', '.join(map(repr, self.names())) or 'none'}")
