"""Verdicts on answers, and how answers are parsed."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

import numpy as np

P = ParamSpec("P")


@dataclass(frozen=True)
class Verdict:
    """The verdict on an answer, which a notebook displays.

    Attributes:
        right: None if no answer was given.
        text: the reason, or a hint that does not reveal the answer.

    Example:
        >>> Verdict(True, "AP depends on all hits, INP on the last one.")
        ✓ Right. AP depends on all hits, INP on the last one.
    """

    right: bool | None
    text: str

    def __repr__(self) -> str:
        word = {True: "✓ Right.", False: "✗ Not yet.", None: "… No answer yet."}[self.right]
        return f"{word} {self.text}"


NO_ANSWER = Verdict(None, "Replace None in the cell above, and run both again.")


class UnreadableAnswerError(ValueError):
    """An answer of the wrong kind; the message says what to give."""


def verdict(right: bool, *, because: str, hint: str) -> Verdict:
    """Return ✓ with the reason `because`, or ✗ with a hint."""
    return Verdict(bool(right), because if right else hint)


def exercise(check: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """Decorate a check so that it returns a verdict for missing and for unreadable answers.

    Positional arguments are answers, keyword arguments the notebook's data. The check returns
    `NO_ANSWER`, without computing anything, if an answer is None, and a verdict with the message
    of an `UnreadableAnswerError`. A wrong keyword is a TypeError in any case.
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
        answer: a list, tuple, array or tensor; also a number if `count` is 1.
        count: how many numbers to expect.
        what: what to give, for the message.
        low, high: smallest and largest valid number.
        whole: whether only whole numbers are valid.

    Raises:
        UnreadableAnswerError: the answer is something else.
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
    """Return the option that an answer names, ignoring case.

    Raises:
        UnreadableAnswerError: the answer is none of them.
    """
    word = str(answer).strip().lower()
    if word not in options:
        raise UnreadableAnswerError(f"Give one of {', '.join(map(repr, options))}.")
    return word
