"""LiteLLM's own reservation, as its proxy takes it: what a key may spend, in Redis counters that all of the proxy's processes share.

The steps are those of a chat request to the proxy, in its order and with its functions: the check of the key's budget, the
reservation, the call, the settlement. What surrounds them (HTTP, routing, logging) is left out, as it is for llmthrift.

Two things stand in, both to LiteLLM's advantage. The row of its database that says what a key has spent is read where the benchmark
counts, so that it is never late, costs nothing, and outlives a killed process; the real one is written in batches. And each process
is forked from one that has imported the proxy, so that its start is not measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import litellm
from litellm.caching.redis_cache import RedisCache
from litellm.proxy import proxy_server
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.auth.auth_checks import virtual_key_max_budget_check
from litellm.proxy.spend_tracking.budget_reservation import (
    count_request_input_tokens,
    estimate_request_max_cost,
    reserve_budget_for_request,
)
from litellm.proxy.spend_tracking.spend_counter_batch import admission_counter_keys, spend_counter_batch_scope

_ROUTE = "/v1/chat/completions"


class LiteLLM:
    """Reserves and settles for one key.

    Args:
        url: where Valkey listens: unix://path.
        token: the key.
        request: the body of each request.
        limit_usd: what the key may spend.
        cost_usd: what each call costs.
        lease_seconds: the time that a counter lives after it was last written; LiteLLM's own setting is 60.
        fail_closed: `fail_closed_budget_enforcement`.
        settled_usd: what has been settled by all processes.
    """

    def __init__(
        self,
        *,
        url: str,
        token: str,
        request: Mapping[str, Any],
        limit_usd: float,
        cost_usd: float,
        lease_seconds: float,
        fail_closed: bool,
        settled_usd: Callable[[], float],
    ) -> None:
        litellm.default_redis_ttl = lease_seconds
        proxy_server._attach_redis_usage_cache(RedisCache(url=url), enable_redis_auth_cache=False)
        assert proxy_server.spend_counter_store.has_redis
        assert proxy_server.spend_counter_store.redis_ttl == lease_seconds
        proxy_server.general_settings["fail_closed_budget_enforcement"] = fail_closed
        proxy_server.prisma_client = SimpleNamespace(db=SimpleNamespace(litellm_verificationtoken=_Row(settled_usd)))
        self._token, self._limit_usd, self._cost_usd, self._fail_closed, self._settled = (
            token,
            limit_usd,
            cost_usd,
            fail_closed,
            settled_usd,
        )
        self._request = dict(request)
        self._body = json.dumps(self._request).encode()

    async def warm(self) -> None:
        """Load the vocabulary and the prices."""
        counts = await count_request_input_tokens(self._request, _ROUTE, llm_router=None, team_id=None, raw_body=self._body)
        estimate_request_max_cost(self._request, _ROUTE, llm_router=None, input_token_counts=counts)

    async def reserve(self) -> dict[str, Any] | None:
        """A reservation; None if the key's budget refuses."""
        key = UserAPIKeyAuth(token=self._token, max_budget=self._limit_usd, spend=self._settled())
        with spend_counter_batch_scope(proxy_server.spend_counter_store, counter_keys=admission_counter_keys(key, None)):
            try:
                await virtual_key_max_budget_check(key, proxy_server.proxy_logging_obj)
                reservation = await reserve_budget_for_request(
                    request_body=self._request,
                    route=_ROUTE,
                    llm_router=None,
                    valid_token=key,
                    team_object=None,
                    user_object=None,
                    prisma_client=proxy_server.prisma_client,
                    user_api_key_cache=proxy_server.user_api_key_cache,
                    proxy_logging_obj=proxy_server.proxy_logging_obj,
                    fail_closed_budget_enforcement=self._fail_closed,
                    raw_body=self._body,
                )
            except litellm.BudgetExceededError:
                return None
        assert reservation is not None, "LiteLLM reserves nothing for this request"
        return reservation

    async def settle(self, reservation: dict[str, Any]) -> None:
        """The call is over."""
        await proxy_server.increment_spend_counters(
            token=self._token, team_id=None, user_id=None, response_cost=self._cost_usd, budget_reservation=reservation
        )

    def close(self) -> None:
        """Nothing is kept."""


class _Row:
    def __init__(self, settled_usd: Callable[[], float]) -> None:
        self._settled = settled_usd

    async def find_unique(self, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(spend=self._settled(), budget_limits=None)
