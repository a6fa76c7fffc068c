"""Run the unit tests of langchain-core and langchain twice, without and with metering, and list the tests that differ.

The tests come with the source distributions of the installed versions. With metering means LLMTHRIFT_METER=1, as a program
would be started. Tests that must differ are named in `EXPECTED`, with the reason. Exit code 0: no test differs. 1: some do, or none ran.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

PEERS = {
    "langchain-core": ["tests/unit_tests"],
    "langchain": ["tests/unit_tests/agents"],
}
# Tests that time themselves, whose marker is strict, and those of the release's own lock file say nothing about metering.
LEFT_OUT = (
    *("-o", "addopts=", "-p", "no:benchmark", "-p", "no:codspeed"),
    *("--deselect", "tests/unit_tests/test_dependencies.py"),
    *("--deselect", "tests/unit_tests/language_models/chat_models/test_benchmark.py"),
)
# What must differ, and why.
EXPECTED = {
    "tests.unit_tests.runnables.test_config::test_merge_config_callbacks": "counts the handlers of a group; metering is one more",
}
ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".peers"


def source_of(name: str) -> Path:
    """The unpacked source distribution of the installed version."""
    wanted = f"{name.replace('-', '_')}-{version(name)}"
    folder = PLACE / wanted
    if not folder.is_dir():
        PLACE.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", str(PLACE)]
        subprocess.run([*command, f"{name}=={version(name)}"], check=True)
        with tarfile.open(PLACE / f"{wanted}.tar.gz") as archive:
            archive.extractall(PLACE, filter="data")
    return folder


def outcomes(folder: Path, tests: list[str], *, metered: bool) -> dict[str, str]:
    """The outcome of each test: "passed", "failed", "error" or "skipped"."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LANGSMITH_TRACING": "false"}
        loading = ""
        if metered:
            environment |= {"LLMTHRIFT_METER": "1", "LLMTHRIFT_URL": str(Path(scratch, "metered.db"))}
            loading = "import llmthrift_langchain; "
        command = [sys.executable, "-c", f"{loading}import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"]
        command += ["-q", "--tb=no", f"--junitxml={report}", *LEFT_OUT, *tests]
        subprocess.run(command, cwd=folder, env=environment, check=False, stdout=subprocess.DEVNULL)
        found: dict[str, str] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            outcome = next((kind for kind in ("failure", "error", "skipped") if kind in kinds), "passed")
            found[f"{case.get('classname')}::{case.get('name')}"] = outcome
        return found


def main() -> int:
    """Compare, print, and return the exit code."""
    differ = 0
    for name, tests in PEERS.items():
        folder = source_of(name)
        bare, metered = (outcomes(folder, tests, metered=with_metering) for with_metering in (False, True))
        changed = sorted(test for test in bare | metered if bare.get(test) != metered.get(test) and test not in EXPECTED)
        passed = sum(outcome == "passed" for outcome in metered.values())
        print(f"{name} {version(name)}: {len(bare)} tests, {passed} passed with metering, {len(changed)} differ", flush=True)
        for test in changed:
            print(f"  {test}: {bare.get(test)} without, {metered.get(test)} with metering")
        differ += len(changed) or not passed
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
