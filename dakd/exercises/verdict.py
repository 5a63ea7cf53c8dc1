"""What a check cell answers (right, not yet, nothing given), and how answers are read."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

import numpy as np

P = ParamSpec("P")


@dataclass(frozen=True)
class Verdict:
    """The answer of a check cell, which shows itself in a notebook.

    Attributes:
        right: None where no answer was given.
        text: why it is right, or where to look again; never the answer itself.

    Example:
        >>> Verdict(True, "AP looks at the top, INP at the last hit.")
        ✓ Right. AP looks at the top, INP at the last hit.
    """

    right: bool | None
    text: str

    def __repr__(self) -> str:
        word = {True: "✓ Right.", False: "✗ Not yet.", None: "… No answer yet."}[self.right]
        return f"{word} {self.text}"


NO_ANSWER = Verdict(None, "Replace None in the cell above, and run both again.")


class UnreadableAnswerError(ValueError):
    """What was given is not of the kind that was asked for; the message says what to give."""


def verdict(right: bool, *, because: str, hint: str) -> Verdict:
    """Return ✓ with the reason, or ✗ with where to look again.

    Args:
        right: whether the answer is right.
        because: why it is.
        hint: what to look at, for an answer that is not.
    """
    return Verdict(bool(right), because if right else hint)


def exercise(check: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """Let a check see readable answers only, and its caller every misspelt keyword.

    Positional arguments are the reader's answers, keyword arguments the notebook's data. If an
    answer is None, `NO_ANSWER` comes back before anything is computed, and an
    `UnreadableAnswerError` becomes a verdict with its message.
    """

    signature = inspect.signature(check)

    @functools.wraps(check)
    def run(*answers: P.args, **data: P.kwargs) -> Verdict:
        signature.bind(*answers, **data)
        if any(answer is None for answer in answers):
            return NO_ANSWER
        try:
            return check(*answers, **data)
        except UnreadableAnswerError as problem:
            return Verdict(False, str(problem))

    return run


def numbers(
    answer: Any,
    count: int,
    what: str,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    whole: bool = False,
) -> np.ndarray:
    """Return an answer as (count,) float64.

    Args:
        answer: a list, tuple, array or tensor; a number where `count` is 1.
        count: how many numbers.
        what: what to give instead, for the message.
        low, high: the smallest and the largest number that makes sense.
        whole: whether only whole numbers do.

    Raises:
        UnreadableAnswerError: it is something else.

    Example:
        >>> numbers((1, 2.5), 2, "two ranks")
        array([1. , 2.5])
    """
    try:
        values = np.asarray(answer)
        if values.dtype.kind not in "iuf":
            raise TypeError
        values = values.astype(np.float64).reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        values = np.full(count, np.nan)
    sensible = (low <= values) & (values <= high) & (not whole or values == np.round(values))
    if len(values) != count or not sensible.all():
        raise UnreadableAnswerError(f"Give {what}.")
    return values


def number(answer: Any, what: str, **limits: Any) -> float:
    """Return an answer as one number; see `numbers`."""
    return float(numbers(answer, 1, what, **limits)[0])


def choice(answer: Any, options: Sequence[str]) -> str:
    """Return an answer that is one of `options`, in whatever case it was written.

    Raises:
        UnreadableAnswerError: it is none of them.

    Example:
        >>> choice(" Green", ["red", "green", "blue"])
        'green'
    """
    word = str(answer).strip().lower()
    if word not in options:
        raise UnreadableAnswerError(f"Give one of {', '.join(map(repr, options))}.")
    return word
