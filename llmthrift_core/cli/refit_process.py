"""The process of a refit: `python -m llmthrift_core.cli.refit_process` reads its task from a pipe, and writes what came of it to another.

It yields to everything else on the machine.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any, Final

from llmthrift_core.errors import LLMThriftError, place_of
from llmthrift_core.routing import LearnedRouter
from llmthrift_core.thrift import Thrift
from llmthrift_core.versions.refit import Refit
from llmthrift_core.versions.refitting import refit_once

_NICE: Final = 10


def main() -> None:
    """Do what standard input says, and say on standard output what came of it."""
    if hasattr(os, "nice"):
        os.nice(_NICE)
    task = json.load(sys.stdin)
    try:
        answer = _done(task)
    except LLMThriftError as error:
        answer = {"error": str(error)}
    except Exception as error:  # its text may hold a prompt
        answer = {"error": f"the refit of router {task['name']!r} failed: {place_of(error)}"}
    json.dump(answer, sys.stdout)


def _done(task: dict[str, Any]) -> dict[str, Any]:
    router = LearnedRouter.from_bytes(base64.b64decode(task["router"]))
    with Thrift(task["url"]) as thrift:
        outcome = refit_once(thrift, task["name"], Refit(**task["refit"]), router)
    number = None if outcome.saved is None else outcome.saved.version
    return {"version": number, "why": outcome.why, "missing": outcome.missing}


if __name__ == "__main__":
    main()
