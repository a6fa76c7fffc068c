"""Findings in the Static Analysis Results Interchange Format, as code hosts and editors read it.

SARIF 2.1.0: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote

from llmthrift_core.auditing.findings import RULES, Finding

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif_log(findings: Sequence[Finding]) -> dict[str, Any]:
    """One run with its rules and results."""
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
