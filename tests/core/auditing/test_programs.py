"""Findings in labelled programs: those that a comment expects, on its line, and no others."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from llmthrift_core import PriceCatalog
from llmthrift_core.auditing import audit_project

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
_EXPECT = re.compile(r"# expect: ([\w-]+)")


def expected(program: Path) -> set[tuple[int, str]]:
    """Lines and rules of the comments."""
    lines = program.read_text(encoding="utf-8").splitlines()
    return {(number, rule) for number, line in enumerate(lines, start=1) for rule in _EXPECT.findall(line)}


@pytest.fixture(scope="module")
def found():
    report = audit_project(PROGRAMS[0].parent, prices=PriceCatalog(), today=lambda: date(2026, 12, 1))
    return {(finding.path, finding.line, finding.rule) for finding in report.findings}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_program_has_the_findings_that_it_expects(program, found):
    assert {(line, rule) for path, line, rule in found if path == program.name} == expected(program)


def test_there_are_sixty_programs_with_and_without_findings():
    labels = [expected(program) for program in PROGRAMS]
    assert len(labels) == 60
    assert sum(not label for label in labels) >= 12
    assert len({rule for label in labels for _, rule in label}) == 9
