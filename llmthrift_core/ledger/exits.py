"""The ways in which a process ends, and what is written before it does.

- The end of the program, or `sys.exit`: an exit handler.
- A child of multiprocessing ends by `os._exit`, without exit handlers, after the finalizers of `multiprocessing.util`.
- SIGTERM ends a process at once where nobody handles it. Where there is no handler, a ledger that is opened or used in the main thread
  installs one: it writes what is queued, at most 5 s long, and the process dies of the signal as it would have, with the same exit
  status. Like every handler in Python it has to wait until the main thread is back from a function written in C. A handler of the
  application comes first, whenever it is installed. LLMTHRIFT_FLUSH_ON_SIGTERM=0 leaves the signal alone.
- SIGKILL, `os._exit` and the loss of power leave no time: what was recorded in the last 200 ms is lost.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from llmthrift_core.settings import flushes_on_sigterm

_EXIT_SECONDS: Final = 10.0
# Schedulers kill 10 to 30 seconds after they asked a process to end.
_SIGTERM_SECONDS: Final = 5.0
# The code that a signal interrupts may hold the very lock that writing needs: after this long it goes on, so that it can let go.
_STOPPED_SECONDS: Final = 0.25


class Exits:
    """Calls `finish` before the process ends. Installs nothing before `watch` is called.

    Args:
        finish: writes what is left. Is given the seconds that it may take, and never raises.
    """

    def __init__(self, finish: Callable[[float], None]) -> None:
        self._finish = finish
        self._process: int | None = None  # whose end is watched: a forked child's is another
        self._is_finished = False

    def watch(self) -> None:
        """From now on `finish` is called. Costs a microsecond when called again."""
        process = os.getpid()
        if self._process != process:
            self._process = process
            self._is_finished = False
            _watch_end(self._at_end)
        if threading.current_thread() is threading.main_thread():
            self._watch_sigterm()

    def _at_end(self) -> None:
        self._finish(_EXIT_SECONDS)

    def _watch_sigterm(self) -> None:
        if os.name != "posix" or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL or not flushes_on_sigterm():
            return
        try:
            signal.signal(signal.SIGTERM, self._on_sigterm)
        except ValueError:  # the main thread of another interpreter
            return

    # What follows runs between any two instructions of the main thread. It waits for no lock that they may hold: that is why it uses
    # neither `threading` nor `logging`.

    def _on_sigterm(self, number: int, _frame: FrameType | None) -> None:
        # Otherwise a handler of the application calls this one, and decides what comes next.
        decides = signal.getsignal(number) == self._on_sigterm
        if decides and self._is_finished:
            self._die(number)
            return
        done = _thread.allocate_lock()
        done.acquire()
        try:
            _thread.start_new_thread(self._finish_aside, (done, number if decides else None))
        except RuntimeError:  # the interpreter is shutting down, or there is no room for a thread
            self._finish(_STOPPED_SECONDS)
            done.release()
        if done.acquire(timeout=_STOPPED_SECONDS) and decides:
            self._die(number)

    def _finish_aside(self, done: Any, number: int | None) -> None:
        self._finish(_SIGTERM_SECONDS)
        self._is_finished = number is not None
        done.release()
        if number is not None:
            time.sleep(_STOPPED_SECONDS)
            if self._is_finished:  # the handler did not wait so long: the signal comes again
                os.kill(os.getpid(), number)

    def _die(self, number: int) -> None:
        self._is_finished = False
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Only the first process of a container gets here: the kernel spares it, as it does without a handler.
        signal.signal(number, self._on_sigterm)


def _watch_end(finish: Callable[[], None]) -> None:
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, finish, exitpriority=-100)  # after the application's own finalizers, which may record
    atexit.unregister(finish)  # a forked child has its parent's handlers, unless multiprocessing dropped them
    atexit.register(finish)
