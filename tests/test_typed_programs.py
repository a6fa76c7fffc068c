"""The programs that are read by the type checker also run."""

from __future__ import annotations

from decimal import Decimal

from tests.typed_programs import with_langchain, with_llamaindex


def test_a_typed_program_of_langchain_runs() -> None:
    assert with_langchain.main() == Decimal("0.000156")


def test_a_typed_program_of_llamaindex_runs() -> None:
    assert with_llamaindex.main() == 2
