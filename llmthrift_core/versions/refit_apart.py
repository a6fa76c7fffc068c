"""A refit in a process of its own.

While 10,000 labelled answers are read and learned in a thread, a decision in another thread waits for the interpreter lock: 3.65 ms at the
99th percentile instead of 0.31 ms, and 0.29 ms where a process of its own does it (`python -m benchmarks.refits`). The database's URL, with
its password, goes through a pipe.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import LLMThriftError
from llmthrift_core.versions.refit import Refit, RefitOutcome
from llmthrift_core.versions.refitting import described, refit_once

if TYPE_CHECKING:
    from llmthrift_core.routing.learned.router import LearnedRouter
    from llmthrift_core.thrift import Thrift

_LOOK_SECONDS: Final = 0.1


def refit_apart(thrift: Thrift, name: str, refit: Refit, router: LearnedRouter, stopping: threading.Event) -> RefitOutcome | None:
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
