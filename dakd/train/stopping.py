"""Ctrl-C and SIGTERM as a request, which a training grants between two steps."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """Training was asked to stop and has saved its state; the message says how to continue."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yield what says whether this process was asked to stop.

    The first Ctrl-C and the first SIGTERM are requests (launchers send the second after the first);
    either for the second time acts at once, as it would outside. In other threads than the main one
    signals stay as they are.
    """
    seen: set[int] = set()

    def request(number: int, frame: FrameType | None) -> None:
        if number not in seen:
            seen.add(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
