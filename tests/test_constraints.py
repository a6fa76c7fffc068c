"""The versions that were tested: pinned, within the bounds of pyproject.toml, and the ones that the README names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
PINS: dict[str, list[str]] = {}
for _line in LINES:
    _pin = Requirement(_line)
    PINS.setdefault(_pin.name.lower().replace("_", "-"), []).append(str(_pin.specifier).removeprefix("=="))
REQUIREMENTS = [
    requirement
    for text in [*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra)]
    if (requirement := Requirement(text)).name != "llmthrift"
]


def test_constraints_are_versions_only():
    assert LINES
    for line in LINES:
        assert re.match(r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!_]+( ; .*)?$", line), line
        assert "://" not in line


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=[str(each) for each in REQUIREMENTS])
def test_every_dependency_is_bounded_and_pinned_within_its_bounds(requirement):
    bounded = any(each.operator in ("<", "==", "~=") for each in requirement.specifier)
    assert bounded or requirement.name == "pandas-stubs", f"{requirement} has no upper bound"
    pins = PINS[requirement.name.lower()]
    assert all(requirement.specifier.contains(pin) for pin in pins), (str(requirement), pins)


def test_readme_names_the_tested_versions():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Tested versions", 1)[1].split("\n#", 1)[0]
    named = re.findall(r"`([a-z0-9-]+)` ([0-9][0-9a-z.]*)", section)
    assert len(named) >= 8
    for name, version in named:
        assert version in PINS[name], f"README says {name} {version}, constraints.txt has {PINS[name]}"
