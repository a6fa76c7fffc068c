"""A policy out of a user's own Python file."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from llmthrift_core.prompts import Shorten
    from llmthrift_core.routing.simulation.replay import Subject


def object_of_file(text: str) -> Subject:
    """The policy that FILE.py:OBJECT names. The file is executed.

    A `LearnedRouter`, also one that is already a policy, and a `Cascade` come as they are, to be fitted; whatever else a `ChatRouter` takes
    as its policy comes as a policy.
    """
    from llmthrift_core.routing import Cascade, LearnedPolicy, LearnedRouter, as_policy

    given = loaded(text, takes="learned, cascade, complexity or FILE.py:OBJECT")
    if isinstance(given, LearnedPolicy):
        return given.router
    return given if isinstance(given, LearnedRouter | Cascade) else as_policy(given)


def shorten_of_file(text: str) -> Shorten:
    """The policy for shorter prompts that a name or FILE.py:OBJECT stands for. The file is executed."""
    from llmthrift_core.prompts import Shorten

    if text == "lossless":
        return Shorten.lossless()
    given = loaded(text, takes="lossless or FILE.py:OBJECT")
    if not isinstance(given, Shorten):
        raise typer.BadParameter(f"{text} is no Shorten, but a {type(given).__name__}")
    return given


def loaded(text: str, *, takes: str) -> Any:
    """The object that FILE.py:OBJECT names. The file is executed."""
    file, separator, name = text.rpartition(":")
    if not separator or not file.endswith(".py") or not name:
        raise typer.BadParameter(f"--policy takes {takes}, not {text!r}")
    if not Path(file).is_file():
        raise typer.BadParameter(f"there is no file {file}")
    spec = spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise typer.BadParameter(f"{file} cannot be loaded as Python")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise typer.BadParameter(f"{file} has no {name!r}")
    return getattr(module, name)
