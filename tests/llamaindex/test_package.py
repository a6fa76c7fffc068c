"""What the package exports, and what importing it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import llmthrift_llamaindex


def test_everything_exported_is_there():
    for name in llmthrift_llamaindex.__all__:
        assert getattr(llmthrift_llamaindex, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        llmthrift_llamaindex.Nonsense  # noqa: B018


def test_importing_the_package_alone_loads_no_framework():
    program = "import sys, llmthrift_llamaindex; assert not {name for name in sys.modules if name.startswith('llama_index.')}"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_adds_neither_the_other_framework_nor_a_provider_nor_a_thread():
    program = (
        "import sys, threading\n"
        "import llama_index.core\n"
        "before = set(sys.modules), threading.active_count()\n"
        "from llmthrift_llamaindex import RouterLLM, ThriftEmbedding, ThriftEventHandler, TokenBudgetPostprocessor, thrifty\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before[0]}\n"
        "heavy = {'alembic', 'genai_prices', 'langchain', 'langchain_core', 'openai', 'anthropic', 'litellm', 'usearch'} & loaded\n"
        "assert not heavy, heavy\n"
        "assert threading.active_count() == before[1]\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def test_without_llama_index_the_extra_is_named():
    program = "import sys; sys.modules['llama_index'] = None\nfrom llmthrift_llamaindex import thrifty"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'llmthrift[llamaindex]'" in done.stderr
