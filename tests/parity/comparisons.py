"""All comparisons by name; each takes the published numbers and returns rows of the table."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch

from .drawing import compare_cutswap, compare_learning_rates, compare_samplers
from .kit import Kit
from .losses import compare_student_loss, compare_teacher_loss
from .network import compare_network
from .rows import Row
from .steps import compare_student_steps, compare_teacher_steps

Compare = Callable[[Kit], Iterable[Row]]
QUICK: dict[str, Compare] = {
    "student_loss": compare_student_loss,
    "teacher_loss": compare_teacher_loss,
    "samplers": compare_samplers,
    "learning_rates": compare_learning_rates,
    "cutswap": compare_cutswap,
    "network": compare_network,
}
STEPS: dict[str, Compare] = {
    "student_2_passes": partial(compare_student_steps, passes=2),
    "student_1_pass": partial(compare_student_steps, passes=1),
    "teacher": compare_teacher_steps,
}
FIRST_IN_FLOAT32: dict[str, Compare] = {
    "student_2_passes": partial(compare_student_steps, passes=2, steps=1, dtype=torch.float32),
    "student_1_pass": partial(compare_student_steps, passes=1, steps=1, dtype=torch.float32),
    "teacher": partial(compare_teacher_steps, steps=1, dtype=torch.float32),
}


def all_rows(kit: Kit) -> Iterator[Row]:
    """Yield the whole table, part by part."""
    for compare in QUICK.values():
        yield from compare(kit)
    for name, compare in STEPS.items():
        rows = {row.what: row for row in compare(kit)}
        for row in FIRST_IN_FLOAT32[name](kit):
            rows[row.what].errors |= row.errors
            rows[row.what].worst |= row.worst
        yield from rows.values()
