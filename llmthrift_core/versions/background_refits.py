"""Refits of a router that is followed."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import LLMThriftError
from llmthrift_core.ledger.statements import COUNT_FEEDBACK
from llmthrift_core.moments import to_us
from llmthrift_core.storage.leases import Lease
from llmthrift_core.versions.refit import Refit, RefitOutcome
from llmthrift_core.versions.refitting import RefitHost, described, refit_once, unfitted

if TYPE_CHECKING:
    from llmthrift_core.routing.learned.router import LearnedRouter

logger = logging.getLogger("llmthrift")
_LEASE_SECONDS: Final = 900.0
_LOOK_SECONDS: Final = 0.1


class BackgroundRefits:
    """Fits a router again when enough was judged. Of all processes that follow it, the one with the lease does.

    A refit that fails, or whose process dies, keeps its lease: nobody tries again before it expires, after a quarter of an hour. Two
    refits at once, should it come to that, do no harm: a version is saved only where no other was saved since its fit began.

    Raises:
        ConfigurationError: the models cannot be used.
    """

    def __init__(self, thrift: RefitHost, name: str, refit: Refit) -> None:
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


def refit_apart(thrift: RefitHost, name: str, refit: Refit, router: LearnedRouter, stopping: threading.Event) -> RefitOutcome | None:
    """`refit_once` in a process of its own; in this one, where the database is in memory.

    Returns:
        What came of it; None where it was stopped.

    Raises:
        LLMThriftError: what the process raised, or that it died.
    """
    address = thrift.address
    if address is None:
        return refit_once(thrift, name, refit, router)
    task = {
        "url": address,
        "name": name,
        "refit": described(refit),
        "router": base64.b64encode(router.to_bytes()).decode(),
    }
    command = [sys.executable, "-m", "llmthrift_core.cli.refit_process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - they are pipes
        try:
            process.stdin.write(json.dumps(task).encode())
            process.stdin.close()
            while process.poll() is None:
                if stopping.wait(_LOOK_SECONDS):
                    return None
            text = process.stdout.read()
        except BrokenPipeError:
            text = b""
        finally:
            process.kill()  # nothing to one that has ended
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError:
        raise LLMThriftError(
            f"the process that fits router {name!r} ended with code {process.returncode} and without an answer; "
            f"`llmthrift route refit {name}` says more"
        ) from None
    if "error" in answer:
        raise LLMThriftError(answer["error"])
    number = answer["version"]
    saved = next((each for each in thrift.routers.versions(name) if each.version == number), None)
    return RefitOutcome(saved, answer["why"], answer["missing"])
