"""FOCUS exports beside focus-validator 1.0.0, the FinOps Foundation's own check, which knows FOCUS 1.0.

    python -m benchmarks.focus [--python PATH]

The validator needs pandas 2 and numpy 1, so that it runs in a virtual environment of its own, made in a temporary directory; with
`--python`, an interpreter that has it, in that one. Its list of rules has names that FOCUS had before its version 1.0 (Provider,
Publisher, InvoiceIssuer, ResourceID, and ChargeType for ChargeCategory): a copy of the export is renamed for it. It reads decimals of
Parquet as no decimals, so the file is CSV. The currency codes that it would fetch from a network are given to it. FOCUS 1.3 itself is
checked by `check_focus`.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.ledger import seed
from llmthrift_core import Thrift, Usage
from llmthrift_core.exporters import check_focus, export_focus

_NEEDED = ("focus-validator==1.0.0", "multimethod<2", "setuptools<81")
_BEFORE_1_0 = {"ProviderName": "Provider", "PublisherName": "Publisher", "InvoiceIssuerName": "InvoiceIssuer", "ResourceId": "ResourceID"}


def main() -> None:
    """Export, check with both, and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--python", type=Path, help="an interpreter that has focus-validator")
    options.add_argument("--rows", type=int, default=20_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        python = given.python or _environment(folder / "environment")
        seed(folder / "ledger.db", given.rows)
        with Thrift(folder / "ledger.db") as thrift:
            thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000), cache="exact", tags={"team": "a"}, feature='x\n"y"')
            thrift.record_cost("tool", "-1.5")
            exported = export_focus(thrift, folder / "focus.csv")
        problems = check_focus(folder / "focus.csv")
        print(f"FOCUS 1.3, check_focus: {exported.rows:,} rows, {len(problems)} problems", *problems[:5], sep="\n  ")
        _rename(folder / "focus.csv", folder / "renamed.csv")
        codes = folder / "focus_validator/utils"
        codes.mkdir(parents=True)
        (codes / "currency_codes.csv").write_text(",currency_codes\n0,USD\n1,EUR\n")
        command = [str(python.parent / "focus-validator"), "--data-file", "renamed.csv", "--validate-version", "1.0"]
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        failed = re.findall(r"^(\w+) failed:", answer.stdout + answer.stderr, re.MULTILINE)
        print(f"FOCUS 1.0, focus-validator 1.0.0: {len(failed)} rules fail, exit code {answer.returncode}", *failed, sep="\n  ")
        if failed or problems or "succeeded" not in answer.stdout:
            print(answer.stdout[-2_000:], answer.stderr[-2_000:])
            sys.exit(1)


def _environment(path: Path) -> Path:
    venv.create(path, with_pip=True)
    python = path / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", *_NEEDED], check=True)
    return python


def _rename(source: Path, target: Path) -> None:
    with open(source, encoding="utf-8", newline="") as read, open(target, "w", encoding="utf-8", newline="") as write:
        rows = csv.DictReader(read)
        names = [_BEFORE_1_0.get(name, name) for name in rows.fieldnames or ()]
        writer = csv.writer(write)
        writer.writerow([*names, "ChargeType"])
        writer.writerows([*row.values(), row["ChargeCategory"]] for row in rows)


if __name__ == "__main__":
    main()
