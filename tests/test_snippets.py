"""Every Python block of the README runs as it stands, against the loopback provider."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache
from llama_index.core import Settings

from llmthrift_core import PriceCatalog, Usage
from tests.contracts.doors import uninstall_handlers

_VALKEY = "valkey://localhost:6379/0"
README = Path(__file__).parent.parent / "README.md"
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(README.parent.glob("README*.md"))]
BLOCKS = [block for text in TEXTS for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.loopback
@pytest.mark.parametrize("block", BLOCKS, ids=[f"block{number}" for number in range(len(BLOCKS))])
def test_block_runs(block, provider, tmp_path, monkeypatch, capsys, request):
    monkeypatch.chdir(tmp_path)
    if _VALKEY in block:
        block = block.replace(_VALKEY, request.getfixturevalue("valkey_url"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
    monkeypatch.setenv("OPENAI_API_BASE", provider.openai_url)  # LlamaIndex's name for it
    scope: dict[str, object] = {"__name__": "__main__"}
    try:
        exec(compile(block, "README.md", "exec"), scope)
    finally:
        set_llm_cache(None)
        uninstall_handlers()
        Settings._llm = None
        for value in scope.values():
            if type(value).__name__ == "Thrift":
                value.close()
    assert capsys.readouterr().out.strip()


def test_there_are_blocks_for_each_way_of_use():
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL))
def test_price_file_is_read(block, tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text(block, encoding="utf-8")
    catalog = PriceCatalog(overrides=file)
    for model in re.findall(r'^\["?([^"\]]+)', block, re.MULTILINE):
        assert catalog.cost(Usage(input_tokens=1_000, output_tokens=1_000), model).usd > 0
