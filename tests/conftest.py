"""Shared fixtures: a database file per test, the loopback provider, and sockets blocked everywhere else."""

from __future__ import annotations

import gc
import os
import shutil
import ssl
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import certifi
import hypothesis
import pytest
from pytest_socket import disable_socket, enable_socket, socket_allow_hosts

from llmthrift_core import Thrift
from llmthrift_core.testing import LoopbackProvider
from tests import quick

# Here alone: each file that names them would start servers of its own.
from tests.core.storage.backends import (  # noqa: F401 - fixtures
    any_database,
    any_url,
    file_database,
    postgresql_database,
    postgresql_url,
    valkey_server,
    valkey_url,
)
from tests.long import LONG

# What is imported stays: to look through half a gigabyte of it for garbage, again and again, takes a tenth of the time.
gc.disable()
# Databases in memory where there is room: every test opens one, and no test cuts the power.
_MEMORY = Path("/dev/shm")
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2**31:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import asks the network
hypothesis.settings.register_profile("untimed", deadline=None, max_examples=500 if LONG else 50)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than there are cores: where one waits for a server, a lock or a moment, another goes on."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish(session: pytest.Session) -> None:
    """The garbage of tests is collected, and what was imported is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every HTTP client reads the certificates of all authorities, for 50 ms. No server here has one: a single authority is enough."""
    authority = tmp_path_factory.mktemp("authority") / "one.pem"
    authority.write_text(ssl.DER_cert_to_PEM_cert(ssl.create_default_context(cafile=certifi.where()).get_ca_certs(binary_form=True)[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority))
        yield


@pytest.fixture(scope="session")
def _once() -> Iterator[quick.Quick]:
    with quick.done_once() as found:
        yield found


@pytest.fixture(autouse=True)
def _only_where_it_is_not_tested(_once: quick.Quick, request: pytest.FixtureRequest) -> None:
    _once.is_on = not quick.not_for(request.node.nodeid)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLMTHRIFT_URL", "LLMTHRIFT_VALKEY_URL", "LLMTHRIFT_OBSERVE", "LLMTHRIFT_DISABLED", "LLMTHRIFT_METER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


# Where LangChain keeps its asynchronous clients, for each address: of all tests there is one provider, and not one event loop.
_KEPT_CLIENTS = {
    "langchain_openai.chat_models._client_utils": "_cached_async_httpx_client",
    "langchain_anthropic._client_utils": "_get_default_async_httpx_client",
}


@pytest.fixture(autouse=True)
def _no_client_of_another_loop() -> Iterator[None]:
    """Pooled connections belong to an event loop, so that no test takes over the client of the one before."""
    yield
    for module, name in _KEPT_CLIENTS.items():
        kept = getattr(sys.modules.get(module), name, None)
        if kept is not None:
            kept.cache_clear()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Unit tests cannot open a socket; tests marked `loopback` reach 127.0.0.1 and nothing else."""
    if item.get_closest_marker("loopback"):
        enable_socket()
        socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)
    else:
        disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    enable_socket()


@pytest.fixture
def thrift(tmp_path: Path) -> Iterator[Thrift]:
    with Thrift(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture(scope="session")
def _provider() -> Iterator[LoopbackProvider]:
    with LoopbackProvider() as provider:
        yield provider


@pytest.fixture
def provider(_provider: LoopbackProvider) -> LoopbackProvider:
    _provider.reset()
    return _provider


@pytest.fixture
def no_warnings_as_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield
