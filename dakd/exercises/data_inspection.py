"""Exercises of notebook 00: what a batch holds, who was seen where, and what a correlation sees."""

from typing import Any

import numpy as np

from dakd.exercises.verdict import Verdict, exercise, number, numbers, verdict


@exercise
def batch_counts(
    images: Any, same_person: Any, *, visible: np.ndarray, infrared: np.ndarray
) -> Verdict:
    """How many images does a batch hold, and how many of its pairs show one person twice?

    A pair is any visible image of the batch with any infrared one.

    Args:
        images, same_person: the answers, two whole numbers.
        visible, infrared: identities of the batch's rows, (P * Q,) each.

    Example:
        >>> batch_counts(8, 4, visible=[1, 1, 2, 2], infrared=[1, 1, 2, 2])
        ✗ Not yet. The images are right. A person's first visible image also pairs with the second \
infrared one.
    """
    seen, looked_for = np.asarray(visible), np.asarray(infrared)
    kind = "two whole numbers from 1"
    count, pairs = number(images, kind, low=1), number(same_person, kind, low=1)
    right = (len(seen) + len(looked_for), int((seen[:, None] == looked_for).sum()))
    if count != right[0]:
        return Verdict(False, "P people, Q images of each, in either modality: count the images.")
    return verdict(
        pairs == right[1],
        because=f"Only {right[1]} of {len(seen) * len(looked_for)} pairs show one person, "
        f"one in {len(seen) * len(looked_for) / right[1]:.0f}: most of what a batch teaches is who "
        "is somebody else.",
        hint="The images are right. A person's first visible image also pairs with the second "
        "infrared one.",
    )


@exercise
def seen_by_both(
    people: Any, *, pids: np.ndarray, cams: np.ndarray, pair: tuple[int, int] = (2, 3)
) -> Verdict:
    """How many people did both cameras of `pair` see?

    Args:
        people: the answer, a whole number.
        pids, cams: identity and camera of every image, (N,).
        pair: two cameras.

    Example:
        >>> seen_by_both(1, pids=[1, 1, 2, 3], cams=[2, 3, 2, 3])
        ✓ Right. 1 of 3 people: for these, a room shows in both kinds of light.
    """
    given = number(people, "a whole number of people", low=0)
    who, where = np.asarray(pids), np.asarray(cams)
    first, second = (set(who[where == cam].tolist()) for cam in pair)
    return verdict(
        given == len(first & second),
        because=f"{len(first & second)} of {len(set(who.tolist()))} people: for these, a room "
        "shows in both kinds of light.",
        hint=f"In the table above, add the people of every row that has a 1 in both column "
        f"{pair[0]} and column {pair[1]}.",
    )


@exercise
def correlations(lamp: Any, negative: Any, *, visible: np.ndarray, infrared: np.ndarray) -> Verdict:
    """What is the correlation of brightness after two changes to the infrared images?

    `lamp`: a stronger lamp adds 0.1 to the infrared brightness of everybody. `negative`: the
    images are shown as negatives, so that b becomes 1 - b.

    Args:
        lamp, negative: the answers, -1 to 1; 0.02 off is near enough.
        visible, infrared: a brightness a person, (n,) each.

    Example:
        >>> correlations(0.2, 0.8, visible=[0.1, 0.3, 0.4], infrared=[0.2, 0.3, 0.7])
        ✗ Not yet. The formula takes the mean away first. What happens to the mean when 0.1 is \
added to everybody?
    """
    kind = "two correlations between -1 and 1"
    given = numbers([lamp, negative], 2, kind, low=-1, high=1)
    seen, lit = np.asarray(visible, dtype=float), np.asarray(infrared, dtype=float)
    right = [np.corrcoef(seen, changed)[0, 1] for changed in (lit + 0.1, 1 - lit)]
    if abs(given[0] - right[0]) > 0.02:
        return Verdict(
            False,
            "The formula takes the mean away first. What happens to the mean when 0.1 is added to "
            "everybody?",
        )
    return verdict(
        abs(given[1] - right[1]) <= 0.02,
        because="A correlation sees neither the lamp nor a contrast, and a negative turns its sign "
        "only: what it measures is whether people keep their distances from the mean.",
        hint="The lamp is right. In a negative, who was brighter than the mean is darker by as "
        "much.",
    )
