"""What the package exports, and what importing it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import llmthrift_langchain


def test_everything_exported_is_there():
    for name in llmthrift_langchain.__all__:
        assert getattr(llmthrift_langchain, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        llmthrift_langchain.Nonsense  # noqa: B018


def test_importing_loads_no_database_no_price_list_no_agents_and_starts_no_thread():
    program = (
        "import sys, threading\n"
        "from llmthrift_langchain import ChatRouter, ThriftCache, ThriftCallbackHandler, thrifty\n"
        "heavy = {'sqlalchemy', 'alembic', 'genai_prices', 'tiktoken', 'langchain', 'langgraph', 'psycopg'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_langchain_the_middleware_says_which_extra():
    program = "import sys; sys.modules['langchain'] = None\nfrom llmthrift_langchain import ThriftMiddleware"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'llmthrift[models]'" in done.stderr
