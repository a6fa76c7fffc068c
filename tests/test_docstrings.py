"""Every example in a docstring runs as it stands."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import llmthrift_core
import llmthrift_langchain
import llmthrift_llamaindex
from llmthrift_core import cache, decisions, exporters, quality, routing, testing

PACKAGES = (llmthrift_core, llmthrift_langchain, llmthrift_llamaindex)
MODULES = [
    name
    for package in PACKAGES
    for _, name, _ in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if ".migrations" not in name
]


PUBLIC = {name for package in (*PACKAGES, cache, decisions, exporters, quality, routing, testing) for name in package.__all__}
EXAMPLES = [test for name in MODULES for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]


@pytest.mark.loopback
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if example.name.split(".")[-1] in PUBLIC or ".Usage." in example.name:
        example.globs = {}  # what it needs it imports, so that whoever copies it has a program
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(example)
    assert failed == 0, capsys.readouterr().out


def test_there_are_examples():
    assert len(EXAMPLES) >= 15
