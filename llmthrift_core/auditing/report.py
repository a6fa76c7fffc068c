"""The report of an audit: as text, as dictionaries, as SARIF, as a table of a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote

from llmthrift_core.auditing.findings import LEVELS, RULES, Finding, Level
from llmthrift_core.display import Printed, html_table

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, repr=False)
class AuditReport(Printed):
    """All findings of an audit, sorted by place.

    Attributes:
        findings: by path, place and rule.
        files: how many files were read.
    """

    findings: tuple[Finding, ...]
    files: int

    def at_least(self, level: Level) -> tuple[Finding, ...]:
        """The findings that are as grave as this, or graver."""
        return tuple(finding for finding in self.findings if LEVELS.index(finding.level) <= LEVELS.index(level))

    def to_text(self) -> str:
        """A line for each finding, and how many there are."""
        count = Counter(finding.level for finding in self.findings)
        parts = [f"{count[level]} {level}{'s' * (count[level] != 1)}" for level in LEVELS if count[level]]
        files = f"{self.files:,} file{'s' * (self.files != 1)}"
        return "\n".join([*(finding.to_text() for finding in self.findings), f"{', '.join(parts) or 'nothing found'} in {files}"])

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dictionary for each finding."""
        names = ("path", "cell", "line", "column", "level", "rule", "message")
        return [{name: getattr(finding, name) for name in names} for finding in self.findings]

    def to_sarif(self) -> dict[str, Any]:
        """The report as a SARIF 2.1.0 log."""
        return sarif_log(self.findings)

    def _repr_html_(self) -> str:
        return html_table(
            ["place", "level", "rule", "message"],
            [[finding.place, finding.level, finding.rule, finding.message] for finding in self.findings],
        )


def sarif_log(findings: Sequence[Finding]) -> dict[str, Any]:
    """One run with its rules and results, as code hosts and editors read it.

    SARIF 2.1.0: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
    """
    numbers = {rule: number for number, rule in enumerate(RULES)}
    driver = {
        "name": "llmthrift audit",
        "version": version("llmthrift"),
        "rules": [
            {
                "id": rule.id,
                "shortDescription": {"text": rule.title},
                "help": {"text": rule.help},
                "defaultConfiguration": {"level": rule.level},
            }
            for rule in RULES.values()
        ],
    }
    results = [_result(finding, numbers[finding.rule]) for finding in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(finding: Finding, number: int) -> dict[str, Any]:
    region = {"startLine": finding.file_line}
    if finding.cell is None:
        region["startColumn"] = finding.column
    place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": quote(finding.path)}, "region": region}}
    if finding.cell is not None:
        place["logicalLocations"] = [{"name": f"cell {finding.cell}, line {finding.line}", "kind": "module"}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": number,
        "level": finding.level,
        "message": {"text": finding.message},
        "locations": [place],
    }
