"""The connection to a Valkey server: what it accepts, what it says when it fails, and what it never says."""

from __future__ import annotations

import os
import sys

import pytest

from llmthrift_core import Budget
from llmthrift_core.budgets import Budgets
from llmthrift_core.budgets.valkey_store import ValkeyBudgets
from llmthrift_core.errors import ConfigurationError, MissingExtraError, StorageError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.storage.valkey import Script, ValkeyServer


@pytest.mark.parametrize("url", ["localhost:6379", "http://u:hidden@h", "", "postgresql://u:hidden@h/d", "valkey://u:hidden@h:notaport"])
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url):
    with pytest.raises(ConfigurationError) as caught:
        ValkeyServer(url)
    assert "hidden" not in str(caught.value)


def test_a_server_that_does_not_answer_is_named_without_its_password():
    for url in ("unix://u:hidden@/nowhere/socket", "unix:///nowhere/socket?password=hidden"):
        with pytest.raises(StorageError) as caught:
            ValkeyServer(url)
        assert "/nowhere/socket" in str(caught.value)
        assert "hidden" not in str(caught.value) + repr(caught.value.__cause__)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "valkey", None)
    with pytest.raises(MissingExtraError, match=r"llmthrift\[valkey\]"):
        ValkeyServer("valkey://localhost")


def test_errors_of_the_server_repeat_no_values(valkey_url):
    with ValkeyServer(valkey_url) as server:
        with pytest.raises(StorageError) as caught:
            server.run(Script("return redis.call('INCRBY', 'k', ARGV[1])"), "a-secret")
        assert "a-secret" not in str(caught.value)


def test_scripts_outlive_a_server_that_forgot_them(valkey_url):
    script = Script("return ARGV[1]")
    with ValkeyServer(valkey_url) as server:
        assert server.run(script, "a") == b"a"
        server.ask("SCRIPT", "FLUSH")
        assert server.run(script, "b") == b"b"


def test_a_server_that_drops_keys_keeps_no_budgets(valkey_url):
    with ValkeyServer(valkey_url) as server:
        budgets = Budgets(ValkeyBudgets(server), PriceCatalog(), new_id=lambda: "1")
        server.ask_many([("CONFIG", "SET", "maxmemory", "100mb"), ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")])
        try:
            with pytest.raises(ConfigurationError, match="noeviction"):
                budgets.add(Budget(limit_usd=1))
            server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
            budgets.add(Budget(limit_usd=1))
        finally:
            server.ask("CONFIG", "SET", "maxmemory", "0")


def test_windows_expire_by_themselves_after_the_last_hold_that_can_settle_in_them(valkey_url):
    with ValkeyServer(valkey_url) as server:
        budgets = Budgets(ValkeyBudgets(server), PriceCatalog(), new_id=lambda: "1")
        budgets.add(Budget(limit_usd=1, window="minute", name="m"))
        budgets.reserve(estimate_usd=1, scope={}).settle(cost_usd=1)
        times = {key.decode().split(":")[2]: server.ask("TTL", key) for key in server.ask("KEYS", "llmthrift:*")}
    eight_days = 8 * 86_400
    assert eight_days <= times["window"] <= eight_days + 60
    assert times["spenders"] == times["window"]
    assert 0 < times["hold"] <= 86_400


def test_a_forked_child_opens_connections_of_its_own(valkey_url):
    script = Script("return ARGV[1]")
    with ValkeyServer(valkey_url) as server:
        assert server.run(script, "parent") == b"parent"
        child = os.fork()
        if child == 0:
            os._exit(0 if server.run(script, "child") == b"child" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert server.run(script, "parent again") == b"parent again"
