"""Webhooks: one POST of JSON for each message, signed, without redirects."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmthrift_core.alerts.alert import Notice

TIMESTAMP: Final = "X-LLMThrift-Timestamp"
SIGNATURE: Final = "X-LLMThrift-Signature"
DELIVERY: Final = "X-LLMThrift-Delivery"
_TIMEOUT_SECONDS: Final = 10.0
_OLDEST_SECONDS: Final = 300.0
_LATER: Final = frozenset({408, 425, 429})


class DeliveryError(Exception):
    """A message was not taken.

    Attributes:
        may_retry: False where the same message would not be taken later either.
    """

    def __init__(self, why: str, *, may_retry: bool = True) -> None:
        self.may_retry = may_retry
        super().__init__(why)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A signed message goes where it was addressed to."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(url: str, secret: str | None, title: str, notices: Sequence[Notice], delivery_id: str) -> None:
    """Send a message.

    Raises:
        DeliveryError: it was not taken.
    """
    told = [{**notice.to_dict(), "at": notice.at.isoformat()} for notice in notices]
    body = json.dumps({"source": "llmthrift", "title": title, "alerts": told}, default=str, ensure_ascii=False).encode()
    timestamp = str(int(time.time()))
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "llmthrift", TIMESTAMP: timestamp, DELIVERY: delivery_id}
    if secret:
        headers[SIGNATURE] = sign(secret, timestamp, body)
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - http or https, as the user said
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise DeliveryError(f"status {error.code}", may_retry=error.code >= 500 or error.code in _LATER) from None
    except (OSError, ValueError) as error:  # ValueError: a URL that is none
        why = getattr(error, "reason", None)  # a URLError says it there; its text may hold the address
        raise DeliveryError(type(why if isinstance(why, OSError) else error).__name__, may_retry=isinstance(error, OSError)) from None


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of the timestamp, a full stop and the body, as "sha256=" and hexadecimal digits."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_signed_webhook(
    body: bytes, headers: Mapping[str, str], *, secret: str, oldest_seconds: float = _OLDEST_SECONDS, now: float | None = None
) -> bool:
    """Whether a webhook's body was sent by who knows the secret, and lately: for whoever receives it.

    Args:
        headers: of the request; names in any case.
        oldest_seconds: an older message may be one that somebody recorded and sends again.
        now: seconds since the epoch; None is now.
    """
    given = {name.lower(): value for name, value in headers.items()}
    timestamp, signature = given.get(TIMESTAMP.lower(), ""), given.get(SIGNATURE.lower(), "")
    if not timestamp.isascii() or not timestamp.isdigit():
        return False
    age = (time.time() if now is None else now) - int(timestamp)
    return abs(age) <= oldest_seconds and hmac.compare_digest(signature.encode(), sign(secret, timestamp, body).encode())
