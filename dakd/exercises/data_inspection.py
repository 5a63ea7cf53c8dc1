"""Exercises of notebook 00: a batch, people and cameras, correlation of brightness."""

from typing import Any

import numpy as np

from dakd.exercises.verdict import Verdict, exercise, number, numbers, verdict


@exercise
def batch_counts(
    images: Any, same_person: Any, *, visible: np.ndarray, infrared: np.ndarray
) -> Verdict:
    """How many images are in a batch, and how many of its pairs show the same person?

    A pair is a visible and an infrared image of the batch.

    Args:
        images, same_person: the answers, two whole numbers.
        visible, infrared: identities of the batch, (P * Q,) each.
    """
    first, second = np.asarray(visible), np.asarray(infrared)
    kind = "two whole numbers from 1"
    count, pairs = number(images, kind, low=1), number(same_person, kind, low=1)
    right = (len(first) + len(second), int((first[:, None] == second).sum()))
    total = len(first) * len(second)
    if count != right[0]:
        return Verdict(False, "P people, and Q images of each in each modality: count the images.")
    return verdict(
        pairs == right[1],
        because=f"Only {right[1]} of {total} pairs show the same person, one in "
        f"{total / right[1]:.0f}: most pairs of a batch are negatives.",
        hint="The number of images is right. A person's first visible image also pairs with the "
        "second infrared one.",
    )


@exercise
def seen_by_both(
    people: Any, *, pids: np.ndarray, cams: np.ndarray, pair: tuple[int, int] = (2, 3)
) -> Verdict:
    """How many people were seen by both cameras of a pair?

    Args:
        people: the answer, a whole number.
        pids, cams: identities and cameras of the images, (N,) each.
        pair: two camera numbers.
    """
    given = number(people, "a whole number of people", low=0)
    identities, cameras = np.asarray(pids), np.asarray(cams)
    first, second = (set(identities[cameras == cam].tolist()) for cam in pair)
    return verdict(
        given == len(first & second),
        because=f"{len(first & second)} of {len(np.unique(identities))} people: both modalities "
        "show them in the same room.",
        hint=f"In the table above, add up the people of the rows that have a 1 in both column "
        f"{pair[0]} and column {pair[1]}.",
    )


@exercise
def correlations(lamp: Any, negative: Any, *, visible: np.ndarray, infrared: np.ndarray) -> Verdict:
    """What is the correlation of brightness after each of two changes to the infrared images?

    Asked: once after a stronger lamp has added 0.1 to the infrared brightness of all people
    (`lamp`), and once for the negatives of the infrared images, 1 - b (`negative`).

    Args:
        lamp, negative: the answers, -1 to 1, within 0.02.
        visible, infrared: mean brightness in 0..1, one per person, (n,) each.
    """
    kind = "two correlations between -1 and 1"
    given = numbers([lamp, negative], 2, kind, low=-1, high=1)
    seen, lit = np.asarray(visible, dtype=float), np.asarray(infrared, dtype=float)
    right = [np.corrcoef(seen, changed)[0, 1] for changed in (lit + 0.1, 1 - lit)]
    if abs(given[0] - right[0]) > 0.02:
        return Verdict(
            False,
            "The formula subtracts the mean. What happens to the mean when 0.1 is added to all "
            "values?",
        )
    return verdict(
        abs(given[1] - right[1]) <= 0.02,
        because="A correlation depends neither on an offset nor on the contrast, and a negative "
        "only changes its sign.",
        hint="The lamp is right. In a negative, a person who was brighter than the mean is darker "
        "by the same amount.",
    )
