"""The terminal of a command: output that cannot end the work, Ctrl-C, and faults as one line."""

import _thread
import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOPPED, FAULT = 130, 2  # exit codes
CORE = {"torch", "torchvision", "numpy", "pandas", "scipy", "PIL", "tqdm", "accelerate", "psutil"}
CORE |= {"filelock", "safetensors", "tyro"}
KNOWN = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)


def run(work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code.

    A known fault is one line and exit code 2, not a traceback; Ctrl-C is one line and 130. A
    character that the terminal cannot show is escaped, and a pipe that is closed or a disk that is
    full ends the output only, not the work.
    """
    with _lasting("stdout") as out, _lasting("stderr"), _plain_warnings():
        code = _without_traceback(work)
        with contextlib.suppress(AttributeError):
            sys.stdout.flush()
        if out.lost and not isinstance(out.lost, BrokenPipeError):
            say(f"not all could be printed: {out.lost}")
            code = code or FAULT
    return code


def say(message: object) -> None:
    """Print a line for the user that is no result."""
    print(f"dakd: {message}", file=sys.stderr)


def _without_traceback(work: Callable[[], int]) -> int:
    with _interrupts() as seen:
        try:
            return work()
        except BaseException as error:
            # A library that is interrupted may raise anything.
            if seen or isinstance(error, KeyboardInterrupt):
                asked = isinstance(error, KeyboardInterrupt) and str(error)
                say(asked or "stopped; the same command does what is left")
                return STOPPED
            if (message := fault(error)) is None:
                raise
            say(message)
            return FAULT


def fault(error: BaseException) -> str | None:
    """Return what to tell the user about an error; None of one that we should hear of."""
    kind = type(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        extra = "" if package in CORE else "[notebooks]"
        return f"{package} is not installed; in the checkout: pip install '.{extra}'"
    if isinstance(error, MemoryError) or kind.__name__ == "OutOfMemoryError":
        return (
            f"out of memory ({str(error).strip() or kind.__name__}); set smaller batches "
            "(--teacher.identities, --student.identities, --evaluation.batch) or --data.no-keep"
        )
    if isinstance(error, KNOWN) or kind.__module__.startswith("dakd."):
        return str(error) or kind.__name__
    return None


class _Lasting:
    """A stream that goes on when what it writes to cannot take a character, or anything.

    Attributes:
        lost: the error after which nothing was written any more.
    """

    def __init__(self, stream: Any) -> None:
        self.stream, self.lost = stream, None  # type: Any, OSError | None

    def write(self, text: str) -> int:
        """Write what can be written."""
        if self.lost is None and self.stream is not None:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                coding = self.stream.encoding
                self.write(text.encode(coding, "backslashreplace").decode(coding))
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Write what is waiting, if it can be written."""
        if self.lost is None and self.stream is not None:
            try:
                self.stream.flush()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = error
        with contextlib.suppress(OSError, ValueError):  # Python flushes it once more at its end
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def _lasting(name: str) -> Iterator[_Lasting]:
    before = getattr(sys, name)
    lasting = _Lasting(before)
    setattr(sys, name, lasting)
    try:
        yield lasting
    finally:
        setattr(sys, name, before)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show our warnings as lines for the user, without a line of code."""
    before = warnings.formatwarning

    def plain(message: Any, category: Any, *where: Any, **more: Any) -> str:
        if category is UserWarning:
            return f"dakd: {message}\n"
        return before(message, category, *where, **more)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yield a list that is not empty any more once Ctrl-C was pressed."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    def again(unraisable: Any) -> None:
        """Press once more if it came where Python drops exceptions, such as in a destructor."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _thread.interrupt_main()
        else:
            hook(unraisable)

    hook, before = sys.unraisablehook, signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = again
    try:
        yield seen
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)
