"""`RouterVersions`: what routers and cascades learned, kept in the database, followed, and with a way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.settings import is_disabled
from llmthrift_core.storage.tables import calls
from llmthrift_core.versions.comparison import BackgroundRollBack, Labels, RollBack
from llmthrift_core.versions.kept import KeptVersions
from llmthrift_core.versions.store import Version

if TYPE_CHECKING:
    from llmthrift_core.routing import Cascade, FollowedRouter, LearnedRouter, RoutingPolicy
    from llmthrift_core.routing.checks import Check
    from llmthrift_core.routing.learned.representation import Embedder
    from llmthrift_core.routing.policies.followed import Upkeep
    from llmthrift_core.versions.refit import Refit, RefitOutcome
    from llmthrift_core.versions.refitting import RefitHost


class RouterVersions(KeptVersions):
    """Versions of fitted routers and cascades, by name. One of them is active: the last that was saved, or what was rolled back to.

    What `load` gives stays as it is. `follow` gives a policy that is always the active version. `check` compares the calls of routers that
    follow a name, whatever policies are around it: their `config_version` says which version they had, unless the caller gave one.

    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.routing import LearnedRouter
    >>> with Thrift(":memory:") as thrift:
    ...     saved = thrift.routers.save(LearnedRouter(models={"weak": 0.6, "strong": 12.0}), name="support", note="before the first fit")
    ...     saved.version, thrift.routers.load("support").models
    (1, ('weak', 'strong'))

    """

    _thrift: RefitHost
    kind = "router"
    labels = Labels(calls.c.config_version, with_suffix=True)

    def save(self, router: LearnedRouter | Cascade, *, name: str, note: str | None = None) -> Version:
        """Keep what a router or a cascade learned as the next version of a name, and make it the active one.

        Raises:
            ConfigurationError: something else than a router or a cascade, or a name that cannot be stored.
            StorageError: the database cannot be written.
        """
        from llmthrift_core.routing import Cascade, LearnedRouter

        if not isinstance(router, LearnedRouter | Cascade):
            raise ConfigurationError(f"only a LearnedRouter or a Cascade can be saved, not a {type(router).__name__}")
        saved = self.store.add(name, router.to_bytes(), note=note)
        assert saved is not None  # noqa: S101 - no number was asked for
        return saved

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
        from llmthrift_core.routing.cascades.cascade import KIND as CASCADE
        from llmthrift_core.routing.cascades.cascade import Cascade
        from llmthrift_core.routing.learned.router import KIND as LEARNED
        from llmthrift_core.routing.learned.router import LearnedRouter
        from llmthrift_core.routing.state import kind_of

        number, state = self.store.state(name, version)
        try:
            kind = kind_of(state)
        except ConfigurationError as error:
            raise StorageError(f"version {number} of router {name!r} cannot be read: {error}; roll back, or fit again") from None
        try:
            if kind == LEARNED:
                return LearnedRouter.from_bytes(state, embedder=embedder)
            if kind == CASCADE:
                return Cascade.from_bytes(state, checks=checks)
        except StorageError as error:
            raise StorageError(f"version {number} of router {name!r} cannot be read: {error}; roll back, or fit again") from None
        raise StorageError(f"version {number} of router {name!r} is a {kind!r:.80}, which this release of llmthrift does not know")

    def follow(
        self,
        name: str,
        *,
        refit: Refit | None = None,
        roll_back: RollBack | None = None,
        check_seconds: float = 30.0,
        embedder: Embedder | None = None,
        checks: Iterable[Check] | None = None,
        stream: Literal["hold", "pass"] = "hold",
    ) -> FollowedRouter:
        """A policy for `ChatRouter` and `RouterLLM` that is always the active version of a name; before the first, the strongest model.

        A thread looks for another active version, refits and rolls back, if that was asked for; it ends with the policy, or with the
        `Thrift`. A change made by any process is in force in all of them after `check_seconds`. To change the version changes the cache
        key: answers of the version before are found again only when it comes back.

        Args:
            refit: fit a `LearnedRouter` again when enough answers were judged, in a process of its own, and activate it if it keeps its
                promise on prompts that it has not seen. None: not here. Where texts are not stored, it learns from counts and
                call sites.
            roll_back: go back to the version before where answers got worse for certain; None: never by itself.
            check_seconds: from one look to the next.
            embedder, checks: as for `load`.
            stream: as for `CascadePolicy`, where a version is a cascade.

        Raises:
            ConfigurationError: an option that cannot be used.
            MissingExtraError: refits are asked for, and scikit-learn is not installed.
        """
        from llmthrift_core.routing import Cascade, CascadePolicy, FollowedRouter

        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"name must be a text, not {name!r}")
        if isinstance(check_seconds, bool) or not isinstance(check_seconds, int | float) or not 0 < check_seconds <= 86_400:
            raise ConfigurationError(f"check_seconds must be above 0 and at most a day, not {check_seconds!r}")
        own = None if checks is None else list(checks)
        upkeep: list[Upkeep] = []
        if roll_back is not None and not is_disabled():
            upkeep.append(BackgroundRollBack(self._thrift, self.store, name, roll_back, self.labels))
        if refit is not None and not is_disabled():
            from llmthrift_core.versions.background_refits import BackgroundRefits

            upkeep.append(BackgroundRefits(self._thrift, name, refit))

        def load(number: int) -> tuple[RoutingPolicy, str]:
            found = self.load(name, number, embedder=embedder, checks=own)
            policy = CascadePolicy(found, stream=stream) if isinstance(found, Cascade) else found.to_policy()
            return policy, found.version

        followed = FollowedRouter(
            name, active=lambda: self.store.active(name), load=load, upkeep=tuple(upkeep), check_seconds=check_seconds
        )
        self._thrift.attach(followed)
        return followed

    def refit(self, name: str, refit: Refit) -> RefitOutcome:
        """Fit a router again now and here, if enough answers were judged, and activate it if it is good enough.

        Raises:
            ConfigurationError: the active version is a cascade, or answers were judged, but nothing is stored of their prompts.
            MissingExtraError: scikit-learn is not installed.
            StorageError: the database cannot be used.
        """
        from llmthrift_core.versions.refitting import refit_once, unfitted

        return refit_once(self._thrift, name, refit, unfitted(refit, self._thrift.prices))

    def refit_together(self, refits: Mapping[str, Refit], *, min_quality: float = 0.98) -> dict[str, RefitOutcome]:
        """Fit routers and cascades again, and let them share one promise of quality, which is spent where it saves most dollars.

        The promise is of all answers that models gave the application: those of calls that follow one of these names, and of the others,
        whose models stay as they are. What a name keeps by itself may be less. The calls of the last `history_days` are counted in the
        ledger: those of a name by their `config_version`, as `follow` sets it, and its examples by their call sites, so that names which
        share a call site and a model cannot be told apart. Answers of the cache keep the cache's own promise, and count as none.

        Args:
            refits: by name; `min_quality` is what prompts without a call site keep. A name's new version is active at once.
            min_quality: of the default models' quality, above 0 and up to 1, by a margin of one standard error.

        Returns:
            By name. Nothing is saved where too few answers were judged since the last version, of all names together, or too few in all.

        Raises:
            ConfigurationError: an option that cannot be used, or answers were judged, but nothing is stored of their prompts.
            MissingExtraError: scikit-learn is not installed.
            StorageError: the database cannot be used.
        """
        from llmthrift_core.versions.shared_promise import refit_all

        return refit_all(self._thrift, refits, min_quality)
