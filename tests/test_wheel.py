"""What is in the wheel: built from this tree, as it would be published."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("llmthrift_core", "llmthrift_langchain", "llmthrift_llamaindex")
DATA = (".bin", ".css", ".gz", ".html", ".js", ".json", ".jsonl", ".mako", ".svg", ".toml", ".tsv", ".txt", ".typed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as opened:
        yield opened


def test_every_module_and_every_file_of_data_is_in_it(wheel):
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", *DATA) or path.name in ("NOTICE", "WORDNET-LICENSE")
    }
    assert len(expected) > 300
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_it_is_typed_and_has_its_migrations_and_its_licences(wheel):
    names = wheel.namelist()
    assert [package for package in PACKAGES if f"{package}/py.typed" not in names] == []
    kept = {Path(name).name for name in names if "storage/migrations/versions/" in name}
    assert kept == {path.name for path in (ROOT / "llmthrift_core/storage/migrations/versions").glob("*.py")}
    licences = [name for name in names if ".dist-info/licenses/" in name]
    assert {Path(name).name for name in licences} == {"LICENSE", "WORDNET-LICENSE", "NOTICE"}
    assert all(wheel.read(name) for name in licences)


def test_nothing_else_is_in_it(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in wheel.namelist() if re.search(r"(^|/)(tests?|docs|benchmarks|notebooks|__pycache__)/|\.pyc$|\.db$", name)]
    assert sum(each.compress_size for each in wheel.infolist()) < 5_000_000


def test_what_is_said_of_it(wheel):
    (found,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    about = Parser().parsestr(wheel.read(found).decode())
    assert about["License-Expression"] == "MIT"
    assert "Typing :: Typed" in about.get_all("Classifier")
    assert {"all", "langchain", "llamaindex", "cli", "gptcache"} <= set(about.get_all("Provides-Extra"))
    assert about.get_payload().lstrip().startswith("# llmthrift")
    (scripts,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "llmthrift = llmthrift_core.cli:main" in wheel.read(scripts).decode()


def test_it_works_from_where_it_is_unpacked(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    program = (
        "import llmthrift_core, llmthrift_langchain\n"
        "from llmthrift_core import Thrift, Usage\n"
        "from llmthrift_core.cache import near_miss\n"
        "assert llmthrift_core.__file__.startswith('site') or '/site/' in llmthrift_core.__file__, llmthrift_core.__file__\n"
        "with Thrift('new.db') as thrift:\n"
        "    thrift.ledger.record('gpt-4o', Usage(input_tokens=1000))\n"
        "    assert f\"{thrift.report().total['cost_usd']:.4f}\" == '0.0025', thrift.report().total\n"
        "assert near_miss('enable the alarm', 'disable the alarm')\n"
    )
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
