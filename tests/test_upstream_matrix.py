"""Which releases the upstream matrix tests with: told from what pip says, and from what pyproject.toml allows."""

from __future__ import annotations

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tools.upstream_matrix import AGENTS, FRAMEWORKS, ROOT, Row, allowed_of, newest_of_minors, rows_for, versions_in

TOLD = """langgraph (1.2.24)
Available versions: 1.2.24, 1.2.3, 1.1.10, 1.1.9, 1.0.1, 0.6.11, 2.0.0rc1, not-a-version
  INSTALLED: 1.2.24
"""


@pytest.mark.parametrize(
    ("allowed", "minors", "expected"),
    [
        ("", 3, ["1.2.24", "1.1.10", "1.0.1"]),
        ("<1.2", 2, ["1.1.10", "1.0.1"]),
        (">=1.1,<3", 9, ["1.2.24", "1.1.10"]),
        (">=5", 3, []),
    ],
)
def test_the_newest_patch_of_the_last_minors(allowed, minors, expected):
    assert [str(each) for each in newest_of_minors(versions_in(TOLD), SpecifierSet(allowed), minors)] == expected


def test_what_pip_does_not_know_is_nothing():
    assert versions_in("ERROR: No matching distribution found") == []


@pytest.mark.parametrize("package", FRAMEWORKS)
def test_every_framework_has_bounds_and_tests(package):
    allowed = allowed_of(package, (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert len(allowed) >= 2
    assert all((ROOT / tests).is_dir() for tests in FRAMEWORKS[package])


def test_the_row_of_agents_has_the_newest_of_several_packages():
    assert rows_for([AGENTS], 3) == [Row(AGENTS)]
    assert Row(AGENTS).requirements[:2] == ("deepagents", "langgraph-supervisor")
    assert Row(AGENTS).environment.name == "agents-newest"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.0.10", ("langgraph==1.0.10", "langgraph-prebuilt<1.0.9")), ("1.1.10", ("langgraph==1.1.10",))],
)
def test_an_old_langgraph_has_the_prebuilt_that_belongs_to_it(version, expected):
    assert Row("langgraph", Version(version)).requirements == expected
