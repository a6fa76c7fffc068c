"""An audit of many files: the seconds that it takes, and precision and recall on the labelled programs.

python -m benchmarks.audit [--files 1000]
"""

from __future__ import annotations

import argparse
import re
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from llmthrift_core import PriceCatalog
from llmthrift_core.auditing import audit_project

PROGRAMS = Path(__file__).parent.parent / "tests/core/auditing/programs"

PLAIN = "".join(
    f"\n\ndef plain_{number}(first, second):\n    total = [one + second for one in first if one]\n    return total\n"
    for number in range(20)
)


def seconds_for(files: int) -> tuple[float, int, int]:
    """Seconds, lines and findings of a project of so many files, each four labelled programs and 100 lines that ask no model."""
    texts = [program.read_text(encoding="utf-8") for program in sorted(PROGRAMS.glob("*.py"))]
    lines = 0
    with TemporaryDirectory() as folder:
        for number in range(files):
            text = "\n".join(texts[(number + step) % len(texts)] for step in range(4)) + PLAIN
            lines += text.count("\n")
            Path(folder, f"module_{number}.py").write_text(text, encoding="utf-8")
        start = time.perf_counter()
        report = audit_project(folder)
        return time.perf_counter() - start, lines, len(report.findings)


def precision_and_recall() -> tuple[float, float, int]:
    """On the programs, of which each line tells the rules that it breaks."""
    labels = {
        (program.name, number, rule)
        for program in PROGRAMS.glob("*.py")
        for number, line in enumerate(program.read_text(encoding="utf-8").splitlines(), start=1)
        for rule in re.findall(r"# expect: ([\w-]+)", line)
    }
    report = audit_project(PROGRAMS, prices=PriceCatalog(), today=lambda: date(2026, 12, 1))
    found = {(finding.path, finding.line, finding.rule) for finding in report.findings}
    return len(found & labels) / len(found), len(found & labels) / len(labels), len(labels)


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000)
    files = parser.parse_args().files
    seconds, lines, findings = seconds_for(files)
    print(f"{files:,} files, {lines:,} lines: {seconds:.1f} s, {findings:,} findings")
    precision, recall, labels = precision_and_recall()
    print(f"{labels} labels in {len(list(PROGRAMS.iterdir()))} programs: precision {precision:.3f}, recall {recall:.3f}")


if __name__ == "__main__":
    main()
