"""API keys: made once, shown once, kept as hashes; each with what it may do, for whom it spends, and until when."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import insert, select, update

from llmthrift_core.attribution import FIELDS
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import from_us
from llmthrift_core.storage.side_tables import api_keys

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database

Scope = Literal["call", "read", "admin"]
SCOPES: Final = ("call", "read", "admin")
_PREFIX: Final = "llmt_"
_BYTES: Final = 32  # of randomness
_REMEMBERED_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key. The key itself is not.

    Attributes:
        id: its name in lists and for `revoke`.
        scopes: "call" asks models, "read" sees the ledger, "admin" changes budgets, caches and keys.
        attribution: whom calls with it are made for.
        requests_per_minute: None: no limit.
        expires_at, revoked_at: None: it does not, it is not.
    """

    id: str
    name: str = ""
    scopes: frozenset[str] = frozenset(SCOPES)
    attribution: Mapping[str, str] = field(default_factory=dict)
    requests_per_minute: int | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the key may do this; "admin" may do all."""
        return scope in self.scopes or "admin" in self.scopes


class ApiKeys:
    """The keys that open a service: those of its database, and those that it was started with.

    Args:
        database: keeps hashes.
        now: seconds since the epoch.
        given: keys by themselves, which may do everything; or by key a mapping with "scopes" and attribution such as "user".
    """

    def __init__(self, database: Database, now: Callable[[], float], given: Iterable[str] | Mapping[str, Mapping[str, Any]] = ()) -> None:
        self._database, self._now = database, now
        keys = [given] if isinstance(given, str) else given
        named = keys if isinstance(keys, Mapping) else {key: {} for key in keys}
        self._given = {_hash(key): _given_key(place, about) for place, (key, about) in enumerate(named.items(), 1)}
        self._known: dict[str, tuple[float, ApiKey | None]] = {}
        self._any: tuple[float, bool] = (0.0, False)

    @property
    def is_configured(self) -> bool:
        """Whether any key opens the service, so that a request needs one. Reads the database at most every five seconds."""
        if self._given:
            return True
        asked_at, found = self._any
        if self._now() - asked_at >= _REMEMBERED_SECONDS:
            with self._database.read() as connection:
                found = connection.execute(select(api_keys.c.id).where(api_keys.c.revoked_us.is_(None)).limit(1)).first() is not None
            self._any = (self._now(), found)
        return found

    def remembers(self, key: str | None) -> bool:
        """Whether `is_configured` and `find` answer at once, without reading the database."""
        if not self._given and self._now() - self._any[0] >= _REMEMBERED_SECONDS:
            return False
        if key is None or (not self._given and not self._any[1]):
            return True
        digest = _hash(key)
        return digest in self._given or self._now() - self._known.get(digest, (-math.inf, None))[0] < _REMEMBERED_SECONDS

    def find(self, key: str) -> ApiKey | None:
        """What a key may do; None for one that is unknown, revoked or past its time."""
        digest, now = _hash(key), self._now()
        if (known := self._given.get(digest)) is not None:
            return known
        asked_at, found = self._known.get(digest, (0.0, None))
        if now - asked_at >= _REMEMBERED_SECONDS:
            found = self._read(digest)
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[digest] = (now, found)
        if found is None or found.revoked_at is not None:
            return None
        return None if found.expires_at is not None and found.expires_at.timestamp() <= now else found

    def create(
        self,
        *,
        name: str = "",
        scopes: Iterable[str] = ("call",),
        expires_in: timedelta | None = None,
        requests_per_minute: int | None = None,
        **attribution: str,
    ) -> tuple[str, ApiKey]:
        """Make a key. It is returned once, and cannot be read again.

        Args:
            attribution: user, feature, session, ...: whom calls with it are made for, whatever the request says.

        Raises:
            ConfigurationError: an unknown scope or attribution.
            StorageError: the database cannot be written.
        """
        wanted = checked_scopes(scopes)
        if unknown := attribution.keys() - set(FIELDS):
            raise ConfigurationError(f"a key cannot spend for {', '.join(sorted(unknown))}; known are {', '.join(FIELDS)}")
        if requests_per_minute is not None and requests_per_minute < 1:
            raise ConfigurationError(f"requests_per_minute must be at least 1, not {requests_per_minute}")
        key, now_us = _PREFIX + secrets.token_urlsafe(_BYTES), int(self._now() * 1e6)
        row = {
            "id": secrets.token_hex(4),
            "hash": _hash(key),
            "name": name,
            "scopes": json.dumps(sorted(wanted)),
            "attribution": json.dumps(attribution, sort_keys=True),
            "requests_per_minute": requests_per_minute,
            "created_us": now_us,
            "expires_us": None if expires_in is None else now_us + int(expires_in.total_seconds() * 1e6),
        }
        with self._database.write() as connection:
            connection.execute(insert(api_keys), row)
        self._any = (0.0, False)
        return key, _key_of({**row, "revoked_us": None})

    def list(self) -> list[ApiKey]:
        """All keys of the database, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_us.desc())).mappings().all()
        return [_key_of(row) for row in rows]

    def revoke(self, key_id: str) -> bool:
        """End a key. Running services notice within five seconds. False: there is no such key that is still good."""
        with self._database.write() as connection:
            good = (api_keys.c.id == key_id) & api_keys.c.revoked_us.is_(None)
            changed = connection.execute(update(api_keys).where(good).values(revoked_us=int(self._now() * 1e6)))
        self._known.clear()
        return bool(changed.rowcount)

    def rotate(self, key_id: str, *, grace: timedelta = timedelta(0)) -> tuple[str, ApiKey]:
        """Make a new key that may do what this one may; the old one ends after `grace`.

        Raises:
            ConfigurationError: there is no such key that is still good.
        """
        old = next((each for each in self.list() if each.id == key_id and each.revoked_at is None), None)
        if old is None:
            raise ConfigurationError(f"no key {key_id!r} that is still good; `llmthrift keys list` shows them")
        rest = _rest(old, self._now())
        made = self.create(
            name=old.name,
            scopes=old.scopes,
            requests_per_minute=old.requests_per_minute,
            expires_in=rest,
            **old.attribution,
        )
        ends_us = int((self._now() + grace.total_seconds()) * 1e6)
        if grace <= timedelta(0):
            self.revoke(key_id)
        else:
            with self._database.write() as connection:
                connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(expires_us=ends_us))
        return made

    def _read(self, digest: str) -> ApiKey | None:
        with self._database.read() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.hash == digest)).mappings().first()
        return None if row is None else _key_of(row)


def checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes, all of them known. Raises ConfigurationError."""
    wanted = frozenset([scopes] if isinstance(scopes, str) else scopes)
    if unknown := wanted - set(SCOPES):
        raise ConfigurationError(f"unknown scope {', '.join(sorted(unknown))}; known are {', '.join(SCOPES)}")
    if not wanted:
        raise ConfigurationError(f"a key needs a scope: {', '.join(SCOPES)}")
    return wanted


def _given_key(place: int, about: Mapping[str, Any]) -> ApiKey:
    scopes = checked_scopes(about.get("scopes", SCOPES))
    known = {name: str(value) for name, value in about.items() if name in FIELDS}
    if unknown := about.keys() - set(FIELDS) - {"scopes", "name", "requests_per_minute"}:
        raise ConfigurationError(f"an API key cannot have {', '.join(sorted(map(str, unknown)))}; known are scopes, {', '.join(FIELDS)}")
    return ApiKey(f"given-{place}", str(about.get("name", "")), scopes, known, about.get("requests_per_minute"))


def _key_of(row: Mapping[Any, Any]) -> ApiKey:
    return ApiKey(
        id=row["id"],
        name=row["name"],
        scopes=frozenset(json.loads(row["scopes"])),
        attribution=json.loads(row["attribution"]),
        requests_per_minute=row["requests_per_minute"],
        created_at=from_us(row["created_us"]),
        expires_at=None if row["expires_us"] is None else from_us(row["expires_us"]),
        revoked_at=None if row["revoked_us"] is None else from_us(row["revoked_us"]),
    )


def _rest(key: ApiKey, now: float) -> timedelta | None:
    return None if key.expires_at is None else timedelta(seconds=max(key.expires_at.timestamp() - now, 0))


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
