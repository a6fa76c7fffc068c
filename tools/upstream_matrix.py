"""Run the adapters' tests with the last three minor releases of each framework: `make upstream`, meant for every night.

    python -m tools.upstream_matrix [--list] [--only langgraph] [--minors 3] [TESTS ...]

One row for each minor release of langchain-core, langchain, langgraph and llama-index-core: its newest patch, with whatever else
pyproject.toml allows beside it, in an environment of its own under `.venv-upstream`. The releases are asked of pip, and so of the index
that it is configured with. A last row has packages that make agents of LangChain's, each in its newest release. A row whose packages
cannot be installed together is said, and fails nothing; a row whose tests fail does.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

ROOT: Final = Path(__file__).parents[1]
HOME: Final = ROOT / ".venv-upstream"
FRAMEWORKS: Final = {
    "langchain-core": ("tests/langchain", "tests/contracts"),
    "langchain": ("tests/langchain", "tests/contracts"),
    "langgraph": ("tests/langchain", "tests/contracts"),
    "llama-index-core": ("tests/llamaindex", "tests/contracts"),
}
AGENTS: Final = "agents"
"""The row of packages that make agents of LangChain's, each in its newest release."""
_OF_AGENTS: Final = ("deepagents", "langgraph-supervisor", "langgraph-swarm", "langchain-mcp-adapters", "mcp<2")
_BESIDE: Final = {"langgraph": (SpecifierSet("<1.1"), "langgraph-prebuilt<1.0.9")}
"""What an old release needs beside it that its own bounds do not say: prebuilt 1.0.9 imports names of langgraph 1.1 (langgraph #7404)."""
_TESTS: Final = {**FRAMEWORKS, AGENTS: ("tests/langchain/test_agent_packages.py",)}


@dataclass(frozen=True)
class Row:
    """One release to test with; without a version, the newest of several packages."""

    package: str
    version: Version | None = None

    @property
    def environment(self) -> Path:
        return HOME / f"{self.package}-{self.version or 'newest'}"

    @property
    def requirements(self) -> tuple[str, ...]:
        if self.version is None:
            return _OF_AGENTS
        old, beside = _BESIDE.get(self.package, (SpecifierSet("<0"), ""))
        return (f"{self.package}=={self.version}", *((beside,) if self.version in old else ()))

    def __str__(self) -> str:
        return f"{self.package} {self.version}" if self.version is not None else f"packages of agents ({', '.join(_OF_AGENTS)})"


def newest_of_minors(versions: Iterable[str], allowed: SpecifierSet, minors: int) -> list[Version]:
    """The newest release of each of the last minor series that are allowed, newest first. Pre-releases do not count.

    >>> [str(version) for version in newest_of_minors(["1.2.1", "1.2.0", "1.1.5", "1.1.9", "0.9", "2.0rc1"], SpecifierSet(">=1,<3"), 3)]
    ['1.2.1', '1.1.9']
    """
    newest: dict[tuple[int, int], Version] = {}
    for text in versions:
        try:
            version = Version(text)
        except InvalidVersion:
            continue
        if version.is_prerelease or version not in allowed:
            continue
        series = version.major, version.minor
        newest[series] = max(version, newest.get(series, version))
    return sorted(newest.values(), reverse=True)[:minors]


def versions_in(told: str) -> list[str]:
    """The releases that `pip index versions` names.

    >>> versions_in("langgraph (1.2.1)\\nAvailable versions: 1.2.1, 1.2.0\\n  INSTALLED: 1.2.0")
    ['1.2.1', '1.2.0']
    """
    found = re.search(r"^Available versions: (.+)$", told, re.MULTILINE)
    return [] if found is None else [each.strip() for each in found[1].split(",")]


def allowed_of(package: str, project: str) -> SpecifierSet:
    """What pyproject.toml allows of a package, in all of its extras together."""
    table = tomllib.loads(project)["project"]
    extras: dict[str, list[str]] = table["optional-dependencies"]
    found = [Requirement(line) for lines in (table["dependencies"], *extras.values()) for line in lines]
    specifiers = SpecifierSet()
    for requirement in found:
        if requirement.name == package:
            specifiers &= requirement.specifier
    return specifiers


def rows_for(packages: Sequence[str], minors: int) -> list[Row]:
    """What to test with, as the package index has it."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    rows = []
    for package in packages:
        if package == AGENTS:
            rows.append(Row(package))
            continue
        asked = subprocess.run([sys.executable, "-m", "pip", "index", "versions", package], capture_output=True, text=True, check=False)
        found = newest_of_minors(versions_in(asked.stdout), allowed_of(package, project), minors)
        if not found:
            raise SystemExit(f"no release of {package} that pyproject.toml allows was found: {asked.stderr.strip()[-300:]}")
        rows += [Row(package, version) for version in found]
    return rows


def run(row: Row, tests: Sequence[str]) -> tuple[str, bool]:
    """What came of a row, in words, and whether it may stay so."""
    python = row.environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(row.environment)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
    uv = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    installed = subprocess.run([*uv, *row.requirements, "--editable", f"{ROOT}[dev]"], capture_output=True, text=True, check=False)
    if installed.returncode:
        return f"cannot be installed beside the rest: {' '.join(installed.stderr.split())[-200:]}", True
    command = [python, "-m", "pytest", "--numprocesses", "auto", "--dist", "worksteal", "--tb=line"]
    tested = subprocess.run([*command, *(tests or _TESTS[row.package])], cwd=ROOT, capture_output=True, text=True, check=False)
    log = row.environment / "tests.log"
    log.write_text(tested.stdout + tested.stderr, encoding="utf-8")
    last = (tested.stdout.strip().splitlines() or ["no output"])[-1].strip("= ")
    return (last if tested.returncode == 0 else f"FAILED: {last}; see {log}"), tested.returncode == 0


def main() -> None:
    """Test row by row, and say what came of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help="instead of the adapters' tests")
    parser.add_argument("--list", action="store_true", help="name the rows, and test nothing")
    parser.add_argument("--only", choices=_TESTS, action="append", help="this package; may be given several times")
    parser.add_argument("--minors", type=int, default=3)
    given = parser.parse_args()
    is_well = True
    for row in rows_for(given.only or list(_TESTS), given.minors):
        if given.list:
            print(row)
            continue
        said, may_stay = run(row, given.tests)
        is_well &= may_stay
        print(f"{row}: {said}", flush=True)
    sys.exit(not is_well)


if __name__ == "__main__":
    main()
