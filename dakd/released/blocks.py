"""The non-local block of AGW and of the DAKD release, which our own network has not."""

import re

from torch import Tensor, nn

from dakd.checkpoint import CheckpointError
from dakd.data.lists import some
from dakd.model import ReIDModel

DEPTHS = (3, 4, 6, 3)  # residual blocks in the four stages of a ResNet-50
_BLOCK = re.compile(r"NL_([1-4])\.\d\.")


class NonLocal(nn.Module):
    """Add to every position what all positions hold, weighted by dot products.

    With N = h w positions, y = x + W(g(x) (φ(x)ᵀ θ(x)) / N): Wang et al., Non-local Neural
    Networks, CVPR 2018, dot-product version. Without a softmax the product is associative, and
    g φᵀ first takes O(N) memory instead of O(N²).

    Args:
        channels: C, of the input.
        inner: channels of θ, φ and g.

    Example:
        >>> import torch
        >>> NonLocal(8, 1)(torch.rand(2, 8, 6, 3)).shape
        torch.Size([2, 8, 6, 3])
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Sequential(nn.Conv2d(channels, inner, 1))
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, h, w) with the block's answer added."""
        theta, phi, g = (part(x).flatten(2) for part in (self.theta, self.phi, self.g))  # (B, d, N)
        y = (g @ phi.mT) @ theta / theta.shape[2]  # (B, d, N)
        return x + self.W(y.unflatten(2, x.shape[2:]))


def blocks_for(state: dict[str, Tensor]) -> dict[str, NonLocal]:
    """Return unfilled blocks for the keys ``NL_<stage>.<number>. ...`` of a state dict, by name.

    Raises:
        CheckpointError: blocks of a stage are missing, or are more than its residual blocks.
    """
    names = {match[0]: int(match[1]) for key in state if (match := _BLOCK.match(key))}
    blocks = {}
    for stage, depth in enumerate(DEPTHS, start=1):
        own = sorted(name for name, where in names.items() if where == stage)
        if own != [f"NL_{stage}.{number}." for number in range(min(len(own), depth))]:
            raise CheckpointError(
                f"non-local blocks {some(own)} do not fit stage {stage} of a ResNet-50: they must "
                f"be numbered from 0 and be at most {depth}; the architecture is another one"
            )
        for name in own:
            bias = state.get(f"{name}g.0.bias")
            inner = 1 if bias is None else bias.numel()
            blocks[name] = NonLocal(256 * 2 ** (stage - 1), inner)
    return blocks


def insert(model: ReIDModel, blocks: dict[str, NonLocal]) -> None:
    """Put n blocks of a stage behind its last n residual blocks, in order; changes `model`."""
    for stage, depth in enumerate(DEPTHS, start=1):
        added = [block for name, block in blocks.items() if name.startswith(f"NL_{stage}.")]
        if added:
            residual = list(model.backbone.get_submodule(f"layer{stage}").children())
            start = depth - len(added)
            pairs = zip(residual[start:], added, strict=True)
            chain = residual[:start] + [module for pair in pairs for module in pair]
            setattr(model.backbone, f"layer{stage}", nn.Sequential(*chain))
