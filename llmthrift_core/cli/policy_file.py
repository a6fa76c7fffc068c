"""A routing policy out of a user's own Python file."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmthrift_core.routing.simulation.replay import Subject


def object_of_file(text: str) -> Subject:
    """The policy that FILE.py:OBJECT names. The file is executed.

    A `LearnedRouter`, also one that is already a policy, and a `Cascade` come as they are, to be fitted; whatever else a `ChatRouter` takes
    as its policy comes as a policy.
    """
    from llmthrift_core.routing import Cascade, LearnedPolicy, LearnedRouter, as_policy

    file, separator, name = text.rpartition(":")
    if not separator or not file.endswith(".py") or not name:
        raise typer.BadParameter(f"--policy takes learned, cascade, complexity or FILE.py:OBJECT, not {text!r}")
    if not Path(file).is_file():
        raise typer.BadParameter(f"there is no file {file}")
    spec = spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise typer.BadParameter(f"{file} cannot be loaded as Python")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise typer.BadParameter(f"{file} has no {name!r}")
    given = getattr(module, name)
    if isinstance(given, LearnedPolicy):
        return given.router
    return given if isinstance(given, LearnedRouter | Cascade) else as_policy(given)
