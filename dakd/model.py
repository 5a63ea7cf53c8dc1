"""One network for both modalities: backbone, pooling, batch-norm neck, unit-length embedding."""

from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

BACKBONES = ("resnet50", "resnet18", "small")
POOLINGS = ("average", "gem")
SMALL_WIDTHS = (32, 64, 128, 256)


class WeightsError(RuntimeError):
    """Pretrained weights that cannot be had or do not fit; the message says what to do."""


class GeM(nn.Module):
    """Generalised-mean pooling, (B, D, h, w) -> (B, D), with a learned exponent.

    The exponent 1 is the average, a large one the maximum (Radenović et al., TPAMI 2019).

    Example:
        >>> pool = GeM(p=1.0)
        >>> pool(torch.tensor([[[[1.0, 3.0]]]])).item()
        2.0
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Pool a feature map."""
        return x.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)  # (B, D)


def _average(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3))  # (B, D)


def _small_backbone() -> nn.Sequential:
    """Ten layers of torchvision's basic blocks, for images of 32 to 128 pixels height."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    inside = SMALL_WIDTHS[0]
    stages["conv1"] = nn.Conv2d(3, inside, 3, stride=2, padding=1, bias=False)
    stages["bn1"] = nn.BatchNorm2d(inside)
    stages["relu"] = nn.ReLU(inplace=True)
    for number, (width, stride) in enumerate(zip(SMALL_WIDTHS, (1, 2, 2, 1), strict=True), start=1):
        shortcut = None
        if stride != 1 or inside != width:
            shortcut = nn.Sequential(
                nn.Conv2d(inside, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )
        stages[f"layer{number}"] = nn.Sequential(BasicBlock(inside, width, stride, shortcut))
        inside = width
    backbone = nn.Sequential(stages)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone


def _resnet_backbone(name: str, weights: str | None) -> nn.Sequential:
    """A torchvision ResNet without its classifier and with stride 1 in the last stage."""
    network: ResNet = getattr(torchvision.models, name)(weights=None)
    if weights is not None:
        _load_weights(network, name, weights)
    for module in network.layer4[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
    kept = [(key, child) for key, child in network.named_children() if key not in ("avgpool", "fc")]
    return nn.Sequential(OrderedDict(kept))


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
        path = Path(weights)
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
        pooling: ``"average"`` or ``"gem"``.
        weights: ``"imagenet"``, a file of backbone weights, or None for random ones.

    Raises:
        ValueError: unknown backbone or pooling, or weights asked for the small network.
        WeightsError: weights that cannot be had or do not fit.

    Example:
        >>> z = ReIDModel("small").eval()(torch.rand(2, 3, 32, 16))
        >>> z.shape, z.norm(dim=1).allclose(torch.ones(2))
        (torch.Size([2, 256]), True)
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        pooling: str = "average",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone {backbone!r} is unknown; use one of {', '.join(BACKBONES)}")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r} is unknown; use one of {', '.join(POOLINGS)}")
        if backbone == "small" and weights is not None:
            raise ValueError("no pretrained weights exist for the 'small' backbone; weights=None")
        small = backbone == "small"
        self.architecture = {"backbone": backbone, "pooling": pooling}
        self.backbone = _small_backbone() if small else _resnet_backbone(backbone, weights)
        self.pool = GeM() if pooling == "gem" else _average
        self.embedding_dim = {"resnet50": 2048, "resnet18": 512, "small": SMALL_WIDTHS[-1]}[
            backbone
        ]
        self.neck = nn.BatchNorm1d(self.embedding_dim)
        self.neck.bias.requires_grad_(False)  # stays 0: a shift would only move the unit sphere

    def feature_map(self, x: Tensor) -> Tensor:
        """Return the last stage's output for normalised images: (B, 3, H, W) -> (B, D, h, w)."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), not {tuple(x.shape)}")
        return self.backbone(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return unit-length embeddings for normalised images: (B, 3, H, W) -> (B, D), float32."""
        pooled = self.pool(self.feature_map(x).float())  # (B, D)
        with torch.autocast(x.device.type, enabled=False):
            return F.normalize(self.neck(pooled), dim=1)


def build_model(
    backbone: str = "resnet50",
    pooling: str = "average",
    weights: str | None = None,
    *,
    seed: int = 0,
) -> ReIDModel:
    """Return a `ReIDModel` whose random weights follow from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ReIDModel(backbone, pooling, weights)
