"""The released network filled by rule: tensor i of its state dict is drawn from (seed, i)."""

import numpy as np
import torch
from torch import Tensor

from dakd.augment import Normalise
from dakd.model import ReIDModel
from dakd.released.families import route

from .kit import Kit
from .rows import Rows


def by_rule(name: str, shape: tuple[int, ...], seed: int, number: int) -> np.ndarray:
    """Return the values of the released tensor `name`; the first rule that fits holds."""
    g = np.random.default_rng([seed, number])
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    if name.endswith("running_var"):
        return g.uniform(0.5, 1.5, shape)
    n = g.standard_normal(shape)
    if name.endswith("running_mean"):
        return 0.1 * n
    if name == "backbone.pool.p":
        return 3 + 0.1 * n
    if len(shape) == 4:
        return _convolution(name, shape) * n
    if name.endswith("bias"):
        return 0.0 * n if name == "bn_neck.bias" else 0.1 * n
    return (0.5 if ".bn3." in name else 1.0) * (1 + 0.1 * n)


def _convolution(name: str, shape: tuple[int, ...]) -> float:
    """Return the standard deviation of a convolution's weights."""
    fan_in = np.prod(shape[1:])
    if ".NL_" not in name:
        return (2 / fan_in) ** 0.5
    calm = 1.0 if ".W." in name else 0.3 if ".NL_2." in name else 0.15
    return calm * (1 / fan_in) ** 0.5


def ours_by_name(kit: Kit) -> dict[str, str]:
    """Return released name -> our name."""
    used = route([name for name, _ in kit.names], stem="visible").used
    return {theirs: ours for ours, theirs in used.items()}


def network(kit: Kit, seed: int, dtype: torch.dtype) -> ReIDModel:
    """Return our network with the weights of the rule."""
    model = ReIDModel("resnet50").to(dtype)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    state, renamed = {}, ours_by_name(kit)
    for number, (name, shape) in enumerate(kit.names):
        ours = renamed[name]
        values = torch.from_numpy(np.asarray(by_rule(name, shape, seed, number)))
        state[ours] = values.reshape(shapes[ours])
    model.load_state_dict(state)
    return model


def pictures(array: np.ndarray) -> Tensor:
    """Return pictures (n, H, W, 3) channels first."""
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def compare_network(kit: Kit) -> Rows:
    """Compare eval-mode embeddings of a network filled by rule."""
    rows, numbers = Rows("DAKD: resnet.py, model.py"), kit["network"]
    seed, x = int(numbers["seed"]), pictures(numbers["pictures"])
    for dtype, precision in ((torch.float64, "float64"), (torch.float32, "float32")):
        z = network(kit, seed, dtype).eval()(Normalise(dtype=dtype)(x))  # (8, 2048)
        if precision == "float64":
            what = "network: embeddings, first 8 dimensions"
            rows.compare(what, numbers, "embeddings_first8", z[:, :8], 1e-9)
        else:
            what = "network: embeddings"
            rows.compare(what, numbers, "embeddings", z, 1e-5, precision=precision)
    return rows
