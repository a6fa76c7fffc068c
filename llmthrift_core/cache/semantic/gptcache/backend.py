"""Every call into GPTCache: one at a time, and with its failures told as ours.

GPTCache installs a missing package through a shell when a store of its is created. Nothing here creates one or imports what does: the
caller's `Cache` has all its parts.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import numpy as np

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.embedding import Vectors, as_embedder
from llmthrift_core.errors import ConfigurationError, MissingExtraError, StorageError

logger = logging.getLogger("llmthrift")

_BATCH: Final = 500
_FLUSH_SHARE: Final = 20  # writing the index file takes at most a twentieth of the time
_UNREADABLE: Final = (TypeError, ValueError, AttributeError, KeyError, IndexError)  # what a row of other types makes GPTCache raise


class Row(NamedTuple):
    """What GPTCache keeps of a question.

    Attributes:
        vector: as stored; None for anything but finite numbers with a length.
        parts: name and text of the rows that belong to the question.
        created_us: microseconds since the epoch; 0 where it is not known.
    """

    question: str
    answer: str
    vector: Vector | None
    parts: Sequence[tuple[Any, Any]]
    created_us: int


class _Turn:
    """Whose turn it is to call one data manager. Wrapping a `Cache` twice does not make two of it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


_turns: weakref.WeakKeyDictionary[Any, _Turn] = weakref.WeakKeyDictionary()


class OwnEmbedder:
    """GPTCache's embedding function, as an `Embedder`: the vectors are those that it stores.

    Attributes:
        name: of the function.
    """

    def __init__(self, function: Any) -> None:
        self.name = f"gptcache:{as_embedder(function).name}"
        self._function = function

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """One vector for each text. Raises whatever the function raises."""
        return np.array([np.asarray(self._function(text), dtype=np.float32).reshape(-1) for text in texts])


class Backend:
    """The data manager of a GPTCache `Cache`. Safe to share between threads: FAISS and GPTCache's eviction are not.

    Raises:
        MissingExtraError: gptcache is not installed.
        ConfigurationError: not a `Cache`, one that is not initialised, or one that keeps no vectors.
    """

    def __init__(self, cache: Any) -> None:
        if find_spec("gptcache") is None:
            raise MissingExtraError("gptcache", "gptcache")
        # Whoever made a Cache has imported it; importing it here would read ./data_map.txt with pickle.
        core = sys.modules.get("gptcache.core")
        if core is None or not isinstance(cache, core.Cache):
            raise ConfigurationError(f"GPTCacheStore needs a gptcache.Cache, not {type(cache).__name__}")
        if not cache.has_init:
            raise ConfigurationError("this gptcache.Cache is not initialised; call its init(embedding_func=..., data_manager=...) first")
        if not isinstance(cache.data_manager, import_module("gptcache.manager.data_manager").SSDataManager):
            raise ConfigurationError(
                f"a {type(cache.data_manager).__name__} keeps no vectors; initialise the gptcache.Cache with "
                "data_manager=get_data_manager(CacheBase(...), VectorBase(...))"
            )
        self.embedder = OwnEmbedder(cache.embedding_func)
        self._manager = cache.data_manager
        self._turn = _turns.setdefault(cache.data_manager, _Turn())
        self._data = import_module("gptcache.manager.scalar_data.base")
        self._is_flush_due = False
        self._flushed_at = -1e9
        self._flush_seconds = 0.0
        renew_after_fork(self)

    @property
    def lock(self) -> threading.RLock:
        """Held by whoever makes more than one call."""
        return self._turn.lock

    @contextmanager
    def _call(self, doing: str) -> Iterator[None]:
        """One call. Raises StorageError for whatever GPTCache, or a database behind it, raised."""
        with self._turn.lock:
            try:
                yield
            except StorageError:
                raise
            except Exception as error:  # its text may hold a question, or a URL with a password
                raise StorageError(f"GPTCache failed in {doing}: {type(error).__name__}") from error

    def search(self, vector: Vector, most: int) -> list[int]:
        """The numbers that GPTCache's vector store finds, the nearest first; some may be of rows that are gone."""
        with self._call("search"):
            found = self._manager.search(vector, top_k=most)
        return [int(number) for _, number in found or () if int(number) >= 0]  # FAISS fills up with -1

    def row(self, number: int) -> Row | None:
        """A question with all that belongs to it; None if it is gone, unreadable, or not answered with a text."""
        with self._call("read"):
            try:
                data = self._manager.get_scalar_data((0.0, number))
                return None if data is None else self._row_of(data)
            except _UNREADABLE:
                logger.debug("question %d in GPTCache is not readable", number)
                return None

    def save(self, question: str, answer: str, vector: Vector, *, parts: Iterable[tuple[str, str]], session: str) -> int | None:
        """Add a question under a session's name that no other has. Returns its number; None if GPTCache has evicted it at once."""
        with self._call("save"):
            deps = [self._data.QuestionDep(name, text) for name, text in parts]
            self._manager.save(self._data.Question(question, deps), answer, vector, session=SimpleNamespace(name=session))
            self._is_flush_due = True
            found = [int(row.question_id) for row in self._manager.s.list_sessions(session, None)]  # save() does not tell
        return max(found, default=None)

    def touch(self, number: int) -> None:
        """Tell GPTCache's eviction of a hit."""
        with self._call("hit"):
            self._manager.hit_cache_callback((0.0, number))

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove questions, and what GPTCache has only marked as removed."""
        eviction = self._manager.eviction_manager
        for start in range(0, len(numbers), _BATCH):
            with self._call("remove"):
                eviction.soft_evict(list(numbers[start : start + _BATCH]))
                if not self._manager.s.count(state=-1):
                    continue  # evicted already: FAISS cannot remove no vectors
                try:
                    eviction.delete()
                except NotImplementedError:  # a vector store that cannot: its vectors lead to rows that are gone
                    logger.debug("GPTCache's vector store cannot remove vectors")
                self._is_flush_due = True

    def live(self) -> set[int]:
        """The numbers of all questions."""
        with self._call("list"):
            return {int(number) for number in self._manager.s.get_ids(deleted=False)}

    def sessions(self) -> list[tuple[int, Any, Any]]:
        """Number, session's name and question of everything that was stored in a session."""
        with self._call("list"):
            rows = self._manager.s.list_sessions(None, None)
            return [(int(row.question_id), row.session_id, row.session_question) for row in rows]

    def flush(self) -> None:
        """Write the vector store's file, where it has one, if that is due: GPTCache writes it only when it is told."""
        with self._call("flush"):
            started = time.monotonic()
            if self._is_flush_due and started - self._flushed_at >= _FLUSH_SHARE * self._flush_seconds:
                self._is_flush_due = False
                self._manager.flush()
                self._flushed_at = time.monotonic()
                self._flush_seconds = self._flushed_at - started

    def after_fork(self) -> None:
        """Another thread of the parent may have had its turn."""
        self._turn.lock = threading.RLock()

    def _row_of(self, data: Any) -> Row | None:
        content: Any = data.question
        parts: tuple[tuple[Any, Any], ...] = ()
        if isinstance(content, self._data.Question):
            parts = tuple((dep.name, dep.data) for dep in content.deps or ())
            content = content.content
        answer = data.answers[0]
        if type(content) is not str or answer.answer_type != self._data.DataType.STR or type(answer.answer) is not str:
            return None
        return Row(content, answer.answer, _unit(data.embedding_data), parts, _microseconds(data.create_on))


def _unit(stored: Any) -> Vector | None:
    vector = np.asarray(stored, dtype=np.float32)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    return vector / length if np.isfinite(length) and length > 1e-12 else None


def _microseconds(created: Any) -> int:
    return int(created.timestamp() * 1e6) if isinstance(created, datetime) else 0
