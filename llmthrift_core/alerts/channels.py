"""Who is told: a function, the log, a webhook, and whatever apprise reaches. Each takes a message of one or several notices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Final

from llmthrift_core.alerts.alert import LOG, Alert, Notice, shown
from llmthrift_core.alerts.webhook import DeliveryError, post
from llmthrift_core.errors import ConfigurationError, MissingExtraError, place_of

logger = logging.getLogger("llmthrift.alerts")

Send = Callable[[str, Sequence[Notice], str], None]
Target = Callable[[Notice], object] | str
# What these log while we send has addresses in it, keys and all.
_TELLTALE: Final = ("apprise", "urllib3.connectionpool")
_sending: ContextVar[bool] = ContextVar("llmthrift_sending", default=False)


class Channel:
    """One who is told.

    Attributes:
        name: what may be shown of it.
        is_here: told in this process and thread: a function, or the log.
    """

    def __init__(self, target: Target, secret: str | None) -> None:
        self.name = shown(target)
        self.is_here = not isinstance(target, str) or target == LOG
        self._send = _sender(target, secret)

    def __repr__(self) -> str:
        return f"Channel({self.name})"

    def send(self, title: str, notices: Sequence[Notice], delivery_id: str) -> None:
        """Hand a message over.

        Raises:
            DeliveryError: it was not taken.
        """
        self._send(title, notices, delivery_id)


def key_of(target: Target, alert: Alert) -> Any:
    """What makes two of those who are told one: they get one message."""
    return (target, alert.secret) if isinstance(target, str) else id(target)


def title_of(notices: Sequence[Notice]) -> str:
    """The first line of a message."""
    return f"llmthrift: {notices[0].on}" if len(notices) == 1 else f"llmthrift: {len(notices)} alerts"


def _sender(target: Target, secret: str | None) -> Send:
    if not isinstance(target, str):
        return lambda _, notices, __: _call(target, notices)
    if target == LOG:
        return lambda _, notices, __: _log(notices)
    if target.lower().startswith(("http://", "https://")):
        return lambda title, notices, delivery_id: post(target, secret, title, notices, delivery_id)
    told = _apprise(target)
    return lambda title, notices, _: _notify(told, title, notices)


def _call(function: Callable[[Notice], object], notices: Sequence[Notice]) -> None:
    failed: Exception | None = None
    for notice in notices:
        try:
            function(notice)
        except Exception as error:
            failed = error
            logger.error("a function that is told of alerts failed: %s", place_of(error))
    if failed is not None:
        raise DeliveryError(type(failed).__name__, may_retry=False)


def _log(notices: Sequence[Notice]) -> None:
    for notice in notices:
        logger.warning("%s: %s", notice.on, notice.text)


def _apprise(url: str) -> Any:
    try:
        import apprise
    except ImportError:
        raise MissingExtraError("alerts", "apprise") from None
    for name in _TELLTALE:
        found = logging.getLogger(name)
        if _is_silent not in found.filters:
            found.addFilter(_is_silent)
    token = _sending.set(True)
    try:
        told = apprise.Apprise()
        if not told.add(url):
            raise ConfigurationError(f"apprise does not understand the URL {shown(url)}; see its documentation of this service")
        return told
    finally:
        _sending.reset(token)


def _is_silent(_: logging.LogRecord) -> bool:
    return not _sending.get()


def _notify(told: Any, title: str, notices: Sequence[Notice]) -> None:
    token = _sending.set(True)
    try:
        taken = told.notify(title=title, body="\n".join(notice.text for notice in notices))
    except Exception as error:
        raise DeliveryError(type(error).__name__) from None
    finally:
        _sending.reset(token)
    if not taken:
        raise DeliveryError("not taken")
