"""`python -m llmthrift_core.cli.run app.py [arguments]`: run a program as it is, with every LangChain call metered.

The program needs no change and imports LangChain alone. Rows go to the database that `LLMTHRIFT_URL` names, else to `./llmthrift.db`.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from llmthrift_core.errors import LLMThriftError
from llmthrift_core.exports import require_extra

_USAGE: Final = """usage: python -m llmthrift_core.cli.run PROGRAM.py [ARGUMENT ...]
       python -m llmthrift_core.cli.run -m MODULE [ARGUMENT ...]

Run a program with metering on (LLMTHRIFT_METER=1), for itself and for the programs that it starts this way."""


def main(arguments: Sequence[str]) -> None:
    """Run the program in this process, as `python PROGRAM.py` would. How it ends is how this ends.

    Raises:
        SystemExit: 2 where no program is named, or there is none; otherwise what the program raises.
    """
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return
    is_module = arguments[:1] == ["-m"]
    program, *given = (arguments[1:] if is_module else arguments) or [""]
    if not program or not (is_module or Path(program).exists()):
        problem = f"there is no program {program!r}" if program else "no program is named"
        print(f"{problem}\n{_USAGE}", file=sys.stderr)
        raise SystemExit(2)
    os.environ["LLMTHRIFT_METER"] = "1"
    try:
        require_extra("langchain")
        import_module("llmthrift_langchain")  # registers the handler of this process
    except LLMThriftError as error:
        sys.exit(f"llmthrift: {error}")
    sys.argv = [program, *given]
    if is_module:
        sys.path[0] = os.getcwd()
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(program).resolve().parent)
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
