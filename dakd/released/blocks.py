"""How many non-local blocks the tensors of a network tell of, and how wide they are inside."""

import re
from collections.abc import Mapping

from torch import Tensor

from dakd.data.lists import some
from dakd.model import DEPTHS
from dakd.train.checkpoint import CheckpointError

_BLOCK = re.compile(r"backbone\.layer(\d)\.non_local(\d+)\.")


def blocks_of(state: Mapping[str, Tensor]) -> tuple[list[int], list[int]]:
    """Return the number of non-local blocks of each stage of a ResNet-50, and their inner width.

    Args:
        state: tensors under the names of our network.

    Raises:
        CheckpointError: blocks of a stage are missing, or are more than its residual blocks.
    """
    found = {match.groups() for key in state if (match := _BLOCK.match(key))}
    counts, widths = [], []
    for stage, depth in enumerate(DEPTHS["resnet50"], start=1):
        numbers = sorted(int(number) for where, number in found if int(where) == stage)
        if numbers != [*range(min(len(numbers), depth))]:
            raise CheckpointError(
                f"non-local blocks {some(numbers)} do not fit stage {stage} of a ResNet-50: they "
                f"must be numbered from 0 and be at most {depth}; the architecture is another one"
            )
        bias = state.get(f"backbone.layer{stage}.non_local0.g.0.bias")
        counts.append(len(numbers))
        widths.append(1 if bias is None else bias.numel())
    return counts, widths
