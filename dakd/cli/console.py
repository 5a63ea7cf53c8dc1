"""Console behaviour of the commands: output errors, Ctrl-C, and expected errors as one line."""

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

INTERRUPTED, FAILED = 130, 2  # exit codes
CORE = {"torch", "torchvision", "numpy", "pandas", "scipy", "PIL", "tqdm", "accelerate", "psutil"}
CORE |= {"filelock", "safetensors", "tyro"}
EXPECTED = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)


def run(work: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    Expected errors print one line instead of a traceback and return 2; Ctrl-C prints one line and
    returns 130. Characters that the terminal cannot encode are escaped. A closed pipe or a full
    disk ends the output, but not the work.
    """
    with _robust("stdout") as out, _robust("stderr"), _plain_warnings():
        code = _without_traceback(work)
        with contextlib.suppress(AttributeError):
            sys.stdout.flush()
        if out.error and not isinstance(out.error, BrokenPipeError):
            print_message(f"not all output could be written: {out.error}")
            code = code or FAILED
    return code


def print_message(message: object) -> None:
    """Print a message to stderr."""
    print(f"dakd: {message}", file=sys.stderr)


def _without_traceback(work: Callable[[], int]) -> int:
    with _interrupts() as interrupts:
        try:
            return work()
        except BaseException as error:
            # An interrupted library may raise anything.
            if interrupts or isinstance(error, KeyboardInterrupt):
                text = isinstance(error, KeyboardInterrupt) and str(error)
                print_message(text or "interrupted; the same command continues the work")
                return INTERRUPTED
            if (message := error_message(error)) is None:
                raise
            print_message(message)
            return FAILED


def error_message(error: BaseException) -> str | None:
    """Return the message of an expected error; None for others, which are bugs."""
    kind = type(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        extra = "" if package in CORE else "[notebooks]"
        return f"{package} is not installed; in the checkout: pip install '.{extra}'"
    if isinstance(error, MemoryError) or kind.__name__ == "OutOfMemoryError":
        return (
            f"out of memory ({str(error).strip() or kind.__name__}); use smaller batches "
            "(--teacher.identities, --student.identities, --evaluation.batch) or --data.no-keep"
        )
    if isinstance(error, EXPECTED) or kind.__module__.startswith("dakd."):
        return str(error) or kind.__name__
    return None


class _RobustStream:
    """A stream that escapes characters it cannot encode, and discards output after an OSError.

    Attributes:
        error: the error after which output is discarded.
    """

    def __init__(self, stream: Any) -> None:
        self.stream, self.error = stream, None  # type: Any, OSError | None

    def write(self, text: str) -> int:
        """Write text unless an error occurred."""
        if self.error is None and self.stream is not None:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                encoding = self.stream.encoding
                self.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except OSError as error:
                self._disable(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream unless an error occurred."""
        if self.error is None and self.stream is not None:
            try:
                self.stream.flush()
            except OSError as error:
                self._disable(error)

    def _disable(self, error: OSError) -> None:
        self.error = error
        with contextlib.suppress(
            OSError, ValueError
        ):  # Python flushes the stream once more at exit
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def _robust(name: str) -> Iterator[_RobustStream]:
    before = getattr(sys, name)
    stream = _RobustStream(before)
    setattr(sys, name, stream)
    try:
        yield stream
    finally:
        setattr(sys, name, before)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings of this package as one line, without the source line."""
    before = warnings.formatwarning

    def plain(message: Any, category: Any, *args: Any, **kwargs: Any) -> str:
        if category is UserWarning:
            return f"dakd: {message}\n"
        return before(message, category, *args, **kwargs)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yield a list of the interrupts (Ctrl-C) so far."""
    interrupts: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    def repeat(unraisable: Any) -> None:
        """Interrupt again if Python dropped the exception, such as in a destructor."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _thread.interrupt_main()
        else:
            hook(unraisable)

    hook, before = sys.unraisablehook, signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = repeat
    try:
        yield interrupts
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)
