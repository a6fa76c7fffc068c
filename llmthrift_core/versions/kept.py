"""Common base of versions of routers and configurations: a list, a way back, and a comparison."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from llmthrift_core.texts import require_thrift
from llmthrift_core.versions.comparison import Labels, RollBack, VersionComparison, compare, roll_back_if_lower
from llmthrift_core.versions.store import Version, VersionStore

if TYPE_CHECKING:
    from llmthrift_core.host import Host


class KeptVersions:
    """Versions of one kind, by name. One of them is active: the last that was saved, or what was rolled back to.

    Attributes:
        kind: what they are versions of, in the database and in messages.
        labels: where the ledger says which version a call had.
    """

    kind: ClassVar[str]
    labels: ClassVar[Labels]

    def __init__(self, thrift: Host) -> None:
        require_thrift(thrift, type(self).__name__)
        self._thrift = thrift

    @cached_property
    def store(self) -> VersionStore:
        """Where they are kept."""
        return VersionStore(self._thrift.database, self.kind, clock=self._thrift.now)

    def versions(self, name: str) -> list[Version]:
        """The versions of a name, newest first; none of a name that is not known. Raises StorageError."""
        return self.store.versions(name)

    def names(self) -> list[str]:
        """The names that have a version. Raises StorageError."""
        return self.store.names()

    def roll_back(self, name: str, version: int | None = None) -> Version:
        """Make another version the active one. Nothing is deleted: a later version can be made active by its number.

        Args:
            version: None is the one that was active before, among those with lower numbers.

        Raises:
            ConfigurationError: there is no such version.
            StorageError: the database cannot be written.
        """
        return self.store.roll_back(name, version)

    def check(self, name: str, rule: RollBack | None = None, *, roll_back: bool = False) -> VersionComparison:
        """Whether answers got worse with the active version of a name, as far as the ledger knows its calls and anybody judged them.

        Args:
            rule: what counts as worse; None is `RollBack()`.
            roll_back: go back to the version before where it is certain.

        Raises:
            StorageError: the database cannot be used.
        """
        decide = roll_back_if_lower if roll_back else compare
        return decide(self._thrift, self.store, name, rule or RollBack(), labels=self.labels)
