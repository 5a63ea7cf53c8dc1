"""Ctrl-C and SIGTERM as requests to stop, which training follows between two steps."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """Training stopped on request and saved its state; the message says how to continue."""


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether this process was asked to stop.

    The first Ctrl-C and the first SIGTERM are requests (launchers send both). The second of either
    ends the process at once, as usual. Outside the main thread, signals are not handled.
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
