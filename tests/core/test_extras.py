"""Every extra alone: what can be imported with it, and what is said of the rest. A finder hides what the extra does not bring.

One interpreter imports what llmthrift needs in any case, and is forked for each extra, where that can be done.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from llmthrift_core.exports import EXTRAS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOR_USERS = [extra for extra in PROJECT["optional-dependencies"] if extra not in ("docs", "dev")]
PROBE = r"""
import json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import PathFinder
from io import StringIO

hidden = set(json.loads(sys.stdin.readline()))
answers = sys.stdout

class Without:
    find_distributions = staticmethod(PathFinder.find_distributions)

    def find_spec(self, name, path=None, target=None):
        return None if name in hidden or name.partition(".")[0] in hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Without() if finder is PathFinder else finder for finder in sys.meta_path]
import genai_prices, pydantic, sqlalchemy.dialects.sqlite, tiktoken
for line in sys.stdin:
    child = os.fork() if hasattr(os, "fork") else 0
    if child == 0:
        hidden, statements = json.loads(line)
        hidden = set(hidden)
        break
    if os.waitpid(child, 0)[1]:
        print("null", file=answers, flush=True)
else:
    sys.exit()
from llmthrift_core.cli import main
from llmthrift_core.errors import MissingExtraError

def tried(statement):
    scope = {"main": main, "sys": sys, "MissingExtraError": MissingExtraError}
    before = set(scope) | {"__builtins__"}
    try:
        said = StringIO()
        with redirect_stdout(StringIO()), redirect_stderr(said):
            exec(statement, scope)
    except MissingExtraError as error:
        return {"extra": error.extra, "package": error.package, "text": str(error), "kind": [c.__name__ for c in type(error).__mro__]}
    except SystemExit as error:
        return {"exit": said.getvalue().strip() or str(error)}
    return {"names": sorted(set(scope) - before)}

print(json.dumps({statement: tried(statement) for statement in statements}), file=answers, flush=True)
os._exit(0)
"""
PUBLIC = {
    "llmthrift_core": ("Thrift", "Budget"),
    "llmthrift_core.cache": ("SemanticCache", "GPTCacheStore", "ErrorBound", "ModelJudge", "ExactCache", "near_miss"),
    "llmthrift_core.routing": ("LearnedRouter", "Cascade", "Traffic", "simulate", "Complexity", "Rules"),
    "llmthrift_core.quality": ("Evaluation", "QualityGuard"),
    "llmthrift_core.versions": ("RouterVersions",),
    "llmthrift_langchain": ("ChatRouter", "ThriftCache", "ThriftMiddleware", "ThriftEmbeddings", "thrifty"),
    "llmthrift_llamaindex": ("RouterLLM", "ThriftEventHandler", "thrifty"),
}


def _exported() -> dict[str, list[str]]:
    """By package, the names of its `__all__` as it is written, before what is missing is taken out."""
    found = {}
    for path in sorted(
        each
        for package in ("llmthrift_core", "llmthrift_langchain", "llmthrift_llamaindex")
        for each in ROOT.glob(f"{package}/**/__init__.py")
    ):
        for each in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__all__":
                found[".".join(path.parent.relative_to(ROOT).parts)] = ast.literal_eval(each.value)
    return found


# Every name of every package: it is in `__all__` where it can be read, and what cannot be read says which extra brings it.
AGREES = """
import {package} as found
there = [name for name in {names} if hasattr(found, name)]
assert sorted(there) == sorted(found.__all__), ("{package}", set(there) ^ set(found.__all__))
for name in set({names}) - set(there):
    try:
        exec("from {package} import " + name)
    except MissingExtraError:
        continue
    raise AssertionError(name)
"""
AGREEING = [AGREES.format(package=package, names=names) for package, names in _exported().items()]
STATEMENTS = [
    *(f"from {package} import *" for package in PUBLIC),
    *(f"from {package} import {name}" for package, names in PUBLIC.items() for name in names),
    *(f"import {package}; {package}.{name}" for package, names in PUBLIC.items() for name in names),
]
DEMONSTRATIONS = {
    "sys.argv = ['llmthrift', 'demo']; main()": "demo",
    "sys.argv = ['llmthrift', 'demo', '--framework', 'llamaindex']; main()": "demo-llamaindex",
}
PARTS = {
    "demo": "from llmthrift_langchain.demo import run, ChatRouter",
    "demo-llamaindex": "from llmthrift_llamaindex.demo import run",
}
# What needs no extra at all.
ALONE = [
    "from llmthrift_core import Thrift, Usage; thrift = Thrift(':memory:'); thrift.ledger.record('gpt-4o', Usage()); thrift.report()",
    "from llmthrift_core import Thrift; Thrift(':memory:').invalidate(namespace='n')",
    "from llmthrift_core import Thrift; thrift = Thrift(':memory:'); thrift.cache.stats(); thrift.health(); thrift.savings()",
]
COMMANDS = [f"sys.argv = ['llmthrift', {', '.join(map(repr, words.split()))}]; main()" for words in ("--version", "prices show gpt-4o")]


@cache
def brought_by(extra: str) -> frozenset[str]:
    """The distributions that installing llmthrift with one extra brings, as far as they are here. "" is llmthrift alone."""
    todo = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"].get(extra, [])]
    seen = set()
    while todo:
        wanted = todo.pop()
        for asked in {"", *wanted.extras}:
            if (step := (_normal(wanted.name), asked)) in seen:
                continue
            seen.add(step)
            if wanted.name == "llmthrift":
                todo += map(Requirement, PROJECT["optional-dependencies"].get(asked, ()))
                continue
            try:
                needed = map(Requirement, distribution(wanted.name).requires or ())
            except PackageNotFoundError:
                continue
            todo += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": asked})]
    return frozenset(name for name, _ in seen)


@cache
def _distributions() -> dict[str, list[str]]:
    return {module: [_normal(each) for each in found] for module, found in packages_distributions().items()}


def hidden_with(extra: str) -> list[str]:
    """The modules that are not there where only this extra is installed."""
    brought = brought_by(extra) | {"llmthrift"}
    tops = {module for module, found in _distributions().items() if not brought & set(found) and not module.startswith("llmthrift")}
    # Of namespaces that several distributions share, such as llama_index.
    return sorted(tops | {module for each in EXTRAS.values() for module, name in each.items() if _normal(name) not in brought})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def alone(extra: str) -> dict[str, Any]:
    """What becomes of each statement in an interpreter where only this extra is installed."""
    return _tried_with(next(each for each in ("", *FOR_USERS) if brought_by(each) == brought_by(extra)))


class Probe:
    """The interpreter that is forked. One that cannot be answers once."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, hidden: list[str], statements: list[str]) -> dict[str, Any]:
        """What becomes of the statements where these modules are hidden."""
        if self._process is None or not hasattr(os, "fork"):
            self.end()
            pipe = subprocess.PIPE
            self._process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", PROBE], stdin=pipe, stdout=pipe, text=True)
            self._write(hidden_with(""))
        self._write([hidden, statements])
        assert self._process.stdout is not None
        answer: dict[str, Any] | None = json.loads(self._process.stdout.readline() or "null")
        assert answer is not None, "it ended without an answer; what it wrote is among the errors"
        return answer

    def end(self) -> None:
        """Have it end."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _write(self, told: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()


_PROBE = Probe()


@pytest.fixture(scope="module", autouse=True)
def _probe_ends() -> Iterator[None]:
    yield
    _PROBE.end()


@cache
def _tried_with(extra: str) -> dict[str, Any]:
    complete = [enough for enough in PARTS if {_normal(name) for name in EXTRAS[enough].values()} <= brought_by(extra)]
    statements = [*STATEMENTS, *ALONE, *(PARTS[each] for each in complete)]
    statements += [command for command, enough in DEMONSTRATIONS.items() if enough not in complete]
    statements += COMMANDS + AGREEING
    return _PROBE.ask(hidden_with(extra), statements)


@pytest.mark.parametrize("extra", ["", *FOR_USERS])
def test_each_missing_extra_is_named_and_is_enough(extra):
    for statement, found in alone(extra).items():
        if "extra" not in found:
            continue
        assert f"pip install 'llmthrift[{found['extra']}]'" in found["text"]
        assert _normal(found["package"]) not in brought_by(extra), "it is said to be missing, and is there"
        assert _normal(found["package"]) in brought_by(found["extra"])
        then = alone(found["extra"])[statement]
        # The adapter itself cannot be imported, which happens before any of its names is asked for.
        assert "names" in then or (found["extra"], then["extra"]) == ("langchain", "models"), (statement, found["extra"], then)


def test_what_llmthrift_alone_can_and_cannot():
    bare = alone("")
    assert "Thrift" in bare["from llmthrift_core import *"]["names"]
    assert {"ExactCache", "near_miss"} <= set(bare["from llmthrift_core.cache import *"]["names"])
    assert not {"SemanticCache", "GPTCacheStore"} & set(bare["from llmthrift_core.cache import *"]["names"])
    assert not {"LearnedRouter", "simulate"} & set(bare["from llmthrift_core.routing import *"]["names"])
    assert {
        statement.split()[-1]: found["extra"] for statement, found in bare.items() if "extra" in found and statement.startswith("from")
    } == {
        "*": "llamaindex",
        **dict.fromkeys(("SemanticCache", "ErrorBound", "ModelJudge"), "semantic"),
        "GPTCacheStore": "gptcache",
        **dict.fromkeys(("LearnedRouter", "Cascade", "Traffic", "simulate"), "routing"),
        **dict.fromkeys(("ChatRouter", "ThriftCache", "ThriftMiddleware", "ThriftEmbeddings"), "langchain"),
        **dict.fromkeys(("RouterLLM", "ThriftEventHandler", "thrifty"), "llamaindex"),
    }
    assert bare["from llmthrift_langchain import *"]["extra"] == "langchain"


def test_with_langchain_alone_only_the_middleware_is_missing():
    found = alone("langchain")
    names = set(found["from llmthrift_langchain import *"]["names"])
    assert {"ChatRouter", "ThriftCache", "ThriftEmbeddings", "thrifty"} <= names
    assert "ThriftMiddleware" not in names
    assert found["from llmthrift_langchain import ThriftMiddleware"]["extra"] == "models"
    assert "ImportError" in found["from llmthrift_langchain import ThriftMiddleware"]["kind"]
    read = found["import llmthrift_langchain; llmthrift_langchain.ThriftMiddleware"]
    assert (read["extra"], "AttributeError" in read["kind"]) == ("models", True)


def test_with_all_nothing_is_missing():
    assert [statement for statement, found in alone("all").items() if "extra" in found] == []
    assert "GPTCacheStore" in alone("all")["from llmthrift_core.cache import *"]["names"]


@pytest.mark.parametrize("extra", ["", *FOR_USERS])
def test_the_demonstration_names_the_one_extra_that_is_enough(extra):
    for command, enough in DEMONSTRATIONS.items():
        if PARTS[enough] in alone(extra):
            assert "names" in alone(extra)[PARTS[enough]]
        else:
            assert alone(extra)[command]["exit"].startswith("llmthrift: ")
            assert alone(extra)[command]["exit"].endswith(f"pip install 'llmthrift[{enough}]'")
    assert PARTS.get(extra, ALONE[0]) in alone(extra)


@pytest.mark.parametrize("extra", ["", *FOR_USERS])
def test_what_needs_no_extra_needs_none(extra):
    for statement in ALONE:
        assert "names" in alone(extra)[statement]
    for command in COMMANDS:
        ended = alone(extra)[command]["exit"]
        assert ended == "0" if "rich" in brought_by(extra) and "typer" in brought_by(extra) else ended.endswith("'llmthrift[cli]'")


@pytest.mark.parametrize("extra", ["", *FOR_USERS])
def test_every_package_lists_what_can_be_read_of_it(extra):
    found = {statement: alone(extra)[statement] for statement in AGREEING}
    assert len(found) > 20
    # An adapter as a whole may be what is missing.
    assert {each["extra"] for each in found.values() if "extra" in each} <= {"langchain", "llamaindex", "semantic"}


@pytest.mark.parametrize("extra", FOR_USERS)
def test_the_table_of_extras_is_that_of_the_project(extra):
    direct = set()
    todo = [extra]
    while todo:
        for each in map(Requirement, PROJECT["optional-dependencies"][todo.pop()]):
            todo += each.extras if each.name == "llmthrift" else ()
            direct |= {_normal(each.name)} - {"llmthrift"}
    assert {_normal(name) for name in EXTRAS[extra].values()} == direct


def test_the_table_has_every_extra():
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"])


def test_all_is_everything_for_users():
    parts = [EXTRAS[extra].items() for extra in FOR_USERS if extra not in ("all", "litellm", "llmlingua")]
    assert set().union(*parts) == EXTRAS["all"].items()
