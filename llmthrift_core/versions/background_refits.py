"""Refits of a router that is followed."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from llmthrift_core.errors import LLMThriftError
from llmthrift_core.ledger.statements import COUNT_FEEDBACK
from llmthrift_core.moments import to_us
from llmthrift_core.storage.leases import Lease
from llmthrift_core.versions.refit import Refit
from llmthrift_core.versions.refit_apart import refit_apart
from llmthrift_core.versions.refitting import unfitted

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

logger = logging.getLogger("llmthrift")

_LEASE_SECONDS: Final = 900.0


class BackgroundRefits:
    """Fits a router again when enough was judged. Of all processes that follow it, the one with the lease does.

    A refit that fails, or whose process dies, keeps its lease: nobody tries again before it expires, after a quarter of an hour. Two
    refits at once, should it come to that, do no harm: a version is saved only where no other was saved since its fit began.

    Raises:
        ConfigurationError: the models cannot be used.
    """

    def __init__(self, thrift: Thrift, name: str, refit: Refit) -> None:
        self._thrift = thrift
        self._name = name
        self._refit = refit
        self._unfitted = unfitted(refit, thrift.prices).to_bytes()
        self._waiting_for: tuple[int | None, int] = None, refit.min_new_examples
        self._trouble: str | None = None

    def __call__(self, stopping: threading.Event) -> None:
        """Fit, where it is due. Trouble is not raised, and logged when it is new."""
        try:
            self._try(stopping)
            self._trouble = None
        except LLMThriftError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                logger.error("router %r cannot be fitted again now, which will be tried again: %s", self._name, error)

    def _try(self, stopping: threading.Event) -> None:
        from llmthrift_core.routing.learned.router import LearnedRouter

        thrift, name = self._thrift, self._name
        versions = thrift.routers.versions(name)
        last, tried_us = (versions[0].version, to_us(versions[0].created_at)) if versions else (None, 0)
        of, enough = self._waiting_for
        # A cheap look first: judgements of any model since the last try.
        found = int((thrift.database.fetch_one(COUNT_FEEDBACK, (tried_us,)) or (0,))[0])
        if found < (enough if of == last else self._refit.min_new_examples):
            return
        with Lease(thrift.database, f"refit of router {name}", seconds=_LEASE_SECONDS, clock=thrift.now) as is_ours:
            if not is_ours:
                return
            outcome = refit_apart(thrift, name, self._refit, LearnedRouter.from_bytes(self._unfitted), stopping)
        if outcome is None:
            return
        if outcome.missing:
            self._waiting_for = last, found + outcome.missing
        elif outcome.saved is not None:
            logger.info(
                "router %r: version %d was saved, %s: %s",
                name,
                outcome.saved.version,
                "and is active" if outcome.activated else "but not activated",
                outcome.why,
            )
        else:
            logger.info("router %r: %s", name, outcome.why)
