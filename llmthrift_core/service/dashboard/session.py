"""Who may look: a key in the header, as everywhere, or in the cookie that the login form sets. Pages read; what is
changed needs a form of this site, and the scope "admin" (`editing`)."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from llmthrift_core.service.keys import ApiKey, ApiKeys

COOKIE: Final = "llmthrift_key"
_HOURS: Final = 12


def is_page(path: str) -> bool:
    """Whether a path is the dashboard's, which looks at keys by itself."""
    return path == "/" or path == "/dashboard" or path.startswith("/dashboard/")


def may_read(request: Request, keys: ApiKeys) -> bool:
    """Whether no key is needed, or the one that was sent may read."""
    if not keys.is_configured:
        return True
    return reader(keys, key_of(request)) is not None


def key_of(request: Request) -> str:
    """The key that was sent, in a header or the cookie."""
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    return sent.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key") or request.cookies.get(COOKIE, "")


def reader(keys: ApiKeys, key: str) -> ApiKey | None:
    """The key, if it is good and may read."""
    found = keys.find(key) if key else None
    return found if found is not None and found.allows("read") else None


def keep(response: Response, key: str, *, is_secure: bool) -> None:
    """Let the browser send the key with pages of this site, and with nothing else."""
    response.set_cookie(COOKIE, key, max_age=_HOURS * 3600, httponly=True, samesite="strict", secure=is_secure, path="/")


def forget(response: Response) -> None:
    """Let the browser forget the key."""
    response.delete_cookie(COOKIE, path="/")
