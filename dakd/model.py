"""One network for both modalities: backbone, pooling, batch-norm neck, unit-length embedding."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from dakd.batchnorm import BatchNorm1d, BatchNorm2d, split_statistics

EMBEDDING_DIMS = {"resnet50": 2048, "resnet18": 512, "small": 256}
BACKBONES = tuple(EMBEDDING_DIMS)
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet18": (2, 2, 2, 2)}  # residual blocks of each stage
POOLINGS = ("average", "gem")
SMALL_WIDTHS = (32, 64, 128, 256)
_METHOD_BLOCKS = (0, 2, 3, 0)  # non-local blocks behind the last residual blocks of each stage
_NO_BLOCKS = (0, 0, 0, 0)


class WeightsError(RuntimeError):
    """Pretrained weights cannot be loaded or do not fit; the message says what to do."""


class GeM(nn.Module):
    """Generalised-mean pooling, (B, D, h, w) -> (B, D), with a learned exponent.

    Exponent 1 gives the average; the limit of large ones is the maximum (Radenović et al., TPAMI
    2019).

    Args:
        p: initial exponent.
        eps: smaller values are raised to it first.

    Example:
        >>> pool = GeM(p=1.0)
        >>> pool(torch.tensor([[[[1.0, 3.0]]]])).item()
        2.0
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(float(p)))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled feature map, (B, D)."""
        return x.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)  # (B, D)


class NonLocal(nn.Module):
    """Non-local block, dot-product version (Wang et al., Non-local Neural Networks, CVPR 2018).

    With N = h w positions, y = x + W(g(x) (φ(x)ᵀ θ(x)) / N). Without a softmax the product is
    associative: computing g φᵀ first takes O(N) memory instead of O(N²). A new block is the
    identity.

    Args:
        channels: C, of input and output.
        width: channels of θ, φ and g.

    Example:
        >>> x = torch.rand(2, 8, 6, 3)
        >>> torch.equal(NonLocal(8)(x), x)
        True
    """

    def __init__(self, channels: int, width: int = 1) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, width, 1)
        self.phi = nn.Conv2d(channels, width, 1)
        self.g = nn.Sequential(nn.Conv2d(channels, width, 1))
        self.W = nn.Sequential(nn.Conv2d(width, channels, 1), BatchNorm2d(channels))
        nn.init.zeros_(self.W[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for x, (B, C, h, w)."""
        theta, phi, g = (part(x).flatten(2) for part in (self.theta, self.phi, self.g))  # (B, d, N)
        y = (g @ phi.mT) @ theta / theta.shape[2]  # (B, d, N)
        return x + self.W(y.unflatten(2, x.shape[2:]))


def _average(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3))  # (B, D)


def _small_backbone() -> nn.Sequential:
    """Return four of torchvision's basic blocks, for images of 32 to 128 pixels height."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    channels = SMALL_WIDTHS[0]
    stages["conv1"] = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
    stages["bn1"] = BatchNorm2d(channels)
    stages["relu"] = nn.ReLU(inplace=True)
    for number, (width, stride) in enumerate(zip(SMALL_WIDTHS, (1, 2, 2, 1), strict=True), start=1):
        shortcut = None
        if stride != 1 or channels != width:
            shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), BatchNorm2d(width)
            )
        block = BasicBlock(channels, width, stride, shortcut, norm_layer=BatchNorm2d)
        stages[f"layer{number}"] = nn.Sequential(block)
        channels = width
    backbone = nn.Sequential(stages)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone


def _resnet_backbone(
    name: str, weights: str | None, counts: tuple[int, ...], widths: tuple[int, ...]
) -> nn.Sequential:
    """Return a ResNet without classifier, with stride 1 in the last stage and non-local blocks."""
    network: ResNet = getattr(torchvision.models, name)(weights=None, norm_layer=BatchNorm2d)
    if weights is not None:
        _load_weights(network, name, weights)
    for module in network.layer4[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
    parts = OrderedDict(network.named_children())
    del parts["avgpool"], parts["fc"]
    for stage, (count, width) in enumerate(zip(counts, widths, strict=True), start=1):
        channels = EMBEDDING_DIMS[name] >> (4 - stage)
        blocks = [NonLocal(channels, width) for _ in range(count)]
        parts[f"layer{stage}"] = _interleaved(list(parts[f"layer{stage}"].children()), blocks)
    return nn.Sequential(parts)


def _interleaved(residual: list[nn.Module], blocks: list[NonLocal]) -> nn.Sequential:
    """Insert n non-local blocks after the last n residual blocks, which keep their names."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    first = len(residual) - len(blocks)
    for number, module in enumerate(residual):
        parts[f"{number}"] = module
        if number >= first:
            parts[f"non_local{number - first}"] = blocks[number - first]
    return nn.Sequential(parts)


def _block_counts(backbone: str, non_local: bool | Sequence[int] | None) -> tuple[int, ...]:
    """Return how many non-local blocks each of the four stages has."""
    depths = DEPTHS.get(backbone, _NO_BLOCKS)
    usual = tuple(map(min, _METHOD_BLOCKS, depths))
    if non_local is True and backbone == "small":
        raise ValueError(
            "the 'small' backbone takes no non-local blocks; use non_local=False or None, or "
            "backbone='resnet18'"
        )
    if non_local is None or isinstance(non_local, bool):
        return _NO_BLOCKS if non_local is False else usual
    counts = tuple(non_local) if isinstance(non_local, Sequence) else ()
    most = zip(counts, depths, strict=False)
    if len(counts) != len(depths) or any(n not in range(depth + 1) for n, depth in most):
        raise ValueError(
            f"non_local must be a bool, None, or four counts of at most {depths} for {backbone}, "
            f"not {non_local!r}"
        )
    return counts


def _block_widths(width: int | Sequence[int]) -> tuple[int, ...]:
    """Return the inner width of the non-local blocks of each stage."""
    widths = tuple(width) if isinstance(width, Sequence) else (width,) * len(_NO_BLOCKS)
    if len(widths) != len(_NO_BLOCKS) or any(type(w) is not int or w < 1 for w in widths):
        raise ValueError(f"non_local_width must be a positive integer or four, not {width!r}")
    return widths


def _refuse_unknown(backbone: str, pooling: str, weights: str | None, gem_eps: float) -> None:
    """Raise `ValueError` for settings that do not exist."""
    if backbone not in BACKBONES:
        raise ValueError(f"backbone {backbone!r} is unknown; use one of {', '.join(BACKBONES)}")
    if pooling not in POOLINGS:
        raise ValueError(
            f"pooling {pooling!r} is unknown; use one of {', '.join(POOLINGS)}, or 'auto'"
        )
    if backbone == "small" and weights is not None:
        raise ValueError("no pretrained weights exist for the 'small' backbone; weights=None")
    if not 0 < gem_eps < 1:
        raise ValueError(f"gem_eps must lie between 0 and 1, not {gem_eps!r}")


def _load_weights(network: nn.Module, name: str, weights: str) -> None:
    """Fill `network` from torchvision's ImageNet weights or from a file."""
    if weights == "imagenet":
        api = torchvision.models.get_model_weights(name).IMAGENET1K_V1
        try:
            state = api.get_state_dict(progress=False, check_hash=True)
        except Exception as error:
            raise WeightsError(
                f"the ImageNet weights of {name} could not be downloaded ({error}). Without "
                f"network: fetch {api.url} elsewhere and pass weights='PATH/TO/FILE', or train "
                "from random weights with weights=None"
            ) from error
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsError(
                f"there is no weights file {path}; pass the path of a {name} state dict (.pth or "
                ".safetensors), 'imagenet' or None"
            )
        try:
            safe = path.suffix == ".safetensors"
            state = load_file(path) if safe else torch.load(path, "cpu", weights_only=True)
            state = dict(state)
        except Exception as error:
            raise WeightsError(f"{path} is not a file of weights: {error}") from error
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    own = {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if wrong:
        raise WeightsError(
            f"the weights {weights!r} do not fit {name}: {len(wrong)} of {len(own)} tensors are "
            f"missing or of another shape, {wrong[0]!r} first"
        )
    network.load_state_dict(state, strict=False)


class ReIDModel(nn.Module):
    """The network of DAKD; teacher and student are two of these.

    Args:
        backbone: ``"resnet50"`` (D = 2048), ``"resnet18"`` (512) or ``"small"`` (256), whose last
            stage has stride 1.
        pooling: ``"average"`` or ``"gem"``; None or ``"auto"`` is ``"gem"`` for a ResNet, as in
            the method, and ``"average"`` for the small network.
        weights: ``"imagenet"``, the path of a file of backbone weights, or None for random ones.
        non_local: whether there are `NonLocal` blocks after the last two residual blocks of stage 2
            and the last three of stage 3 (ResNet-18: two and two); None is True for a ResNet, as in
            the method, and False for the small network. Four numbers, one per stage, are for
            published networks with other counts.
        non_local_width: inner channels of these blocks, one number or one per stage.
        gem_eps: smaller values are raised to it before generalised-mean pooling.

    Attributes:
        architecture: the resolved arguments without `weights`, which JSON can store;
            ``ReIDModel(**architecture)`` has tensors of the same names and shapes.
        embedding_dim: D.
        trained_at: height, width and resize filter of the training images; empty where unknown.
            `dakd.evaluate.embed.extract` refuses images of another size or filter.

    Raises:
        ValueError: unknown backbone or pooling, weights or non-local blocks for the small network,
            or numbers out of range.
        WeightsError: the weights cannot be loaded or do not fit.

    Example:
        >>> z = ReIDModel("small").eval()(torch.rand(2, 3, 32, 16))
        >>> z.shape, z.norm(dim=1).allclose(torch.ones(2))
        (torch.Size([2, 256]), True)
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        pooling: str | None = None,
        weights: str | None = None,
        *,
        non_local: bool | Sequence[int] | None = None,
        non_local_width: int | Sequence[int] = 1,
        gem_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.trained_at: dict[str, Any] = {}
        small = backbone == "small"
        if pooling is None or pooling == "auto":
            pooling = "average" if small else "gem"
        _refuse_unknown(backbone, pooling, weights, gem_eps)
        counts, widths = _block_counts(backbone, non_local), _block_widths(non_local_width)
        if not any(counts):
            widths = _block_widths(1)
        usual = counts in (_NO_BLOCKS, _block_counts(backbone, None))
        self.architecture: dict[str, Any] = {
            "backbone": backbone,
            "pooling": pooling,
            "non_local": any(counts) if usual else list(counts),
            "non_local_width": widths[0] if len({*widths}) == 1 else list(widths),
            "gem_eps": gem_eps,
        }
        self.backbone = (
            _small_backbone() if small else _resnet_backbone(backbone, weights, counts, widths)
        )
        self.pool = GeM(eps=gem_eps) if pooling == "gem" else _average
        self.embedding_dim = EMBEDDING_DIMS[backbone]
        self.neck = BatchNorm1d(self.embedding_dim)
        self.neck.bias.requires_grad_(False)  # stays 0: a shift would only move the unit sphere

    def feature_map(self, x: Tensor) -> Tensor:
        """Return the last stage's output for normalised images: (B, 3, H, W) -> (B, D, h, w).

        Raises:
            ValueError: the images have another shape.
        """
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), not {tuple(x.shape)}")
        return self.backbone(x)

    def forward(self, x: Tensor, *, streams: int = 1, unit: bool = True) -> Tensor:
        """Return embeddings of normalised images: (B, 3, H, W) -> (B, D), at least float32.

        Args:
            x: images; several streams are equal parts of the batch, such as all visible images
                followed by all infrared ones.
            streams: S, number of parts. In train mode every batch norm normalises each part
                separately, so that one pass has the results and running statistics of S calls.
            unit: scale to unit length; False returns the output of the neck.

        Raises:
            ValueError: the images have another shape, or the batch has no S equal parts.
        """
        if streams < 1 or len(x) % streams:
            raise ValueError(f"a batch of {len(x)} images is not {streams} streams of equal size")
        with split_statistics(self, streams):
            features = self.feature_map(x)  # (B, D, h, w)
            with torch.autocast(x.device.type, enabled=False):
                wide = features.to(torch.promote_types(features.dtype, torch.float32))
                n = self.neck(self.pool(wide))  # (B, D)
                return F.normalize(n, dim=1) if unit else n


def build_model(
    backbone: str = "resnet50",
    pooling: str | None = None,
    weights: str | None = None,
    *,
    non_local: bool | None = None,
    seed: int = 0,
) -> ReIDModel:
    """Return a `ReIDModel` whose random weights depend on `seed` only.

    Global generators keep their state, also those of GPUs, which `torch.manual_seed` would set.

    Args:
        backbone, pooling, weights, non_local: see `ReIDModel`.
        seed: of the random weights.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return ReIDModel(backbone, pooling, weights, non_local=non_local)
