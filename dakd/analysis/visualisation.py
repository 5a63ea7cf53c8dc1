"""Visualisations of networks: UMAP and Grad-CAM. Both need the notebook extras."""

import copy

import numpy as np
from torch import Tensor

from dakd.model import ReIDModel
from dakd.runtime import require


def umap_map(
    embeddings: np.ndarray | Tensor,
    *,
    neighbours: int = 15,
    min_dist: float = 0.1,
    metric: str = "cosine",
    seed: int = 0,
) -> np.ndarray:
    """Return a two-dimensional UMAP of embeddings, (N, 2) float32 (McInnes et al., 2018).

    It runs on one thread with a fixed seed, so that the map is reproducible. Distances between
    distant groups mean little on such a map: `modality_gap` measures them. Show a map with these
    arguments, on which it depends.

    Args:
        embeddings: (N, D).
        neighbours: size of the neighbourhoods to preserve; more show coarser structure.
        min_dist: smallest distance between points of the map, 0..1.
        metric: distance between embeddings, a metric of UMAP.
        seed: of the optimisation.

    Raises:
        ModuleNotFoundError: the notebook extras are not installed.
        ValueError: fewer than `neighbours` + 1 rows.
    """
    z = np.asarray(embeddings, dtype=np.float32)
    enough = len(z) > neighbours
    require(enough, f"a map with {neighbours} neighbours needs more than {len(z)} rows")
    import umap

    how = {"min_dist": min_dist, "metric": metric, "random_state": seed}
    return np.asarray(umap.UMAP(n_neighbors=neighbours, n_jobs=1, **how).fit_transform(z))  # (N, 2)


def gradcam(model: ReIDModel, images: Tensor, targets: Tensor) -> np.ndarray:
    """Return Grad-CAM maps of the similarity to a target embedding (Selvaraju et al., ICCV 2017).

    Args:
        model: the network, which is copied.
        images: normalised images, (B, 3, H, W).
        targets: one target embedding per image (B, D), or one for all (D,).

    Returns:
        (B, H, W) float32 in 0..1, scaled to a maximum of 1 for each image.

    Raises:
        ModuleNotFoundError: the notebook extras are not installed.
        ValueError: shapes that do not match.
    """
    from pytorch_grad_cam import GradCAM

    shapes = f"{tuple(images.shape)} and {tuple(targets.shape)}"
    require(
        images.ndim == 4 and targets.shape[-1] == model.embedding_dim,
        f"images must be (B, 3, H, W) and targets (B, {model.embedding_dim}), not {shapes}",
    )
    targets = targets.expand(len(images), -1)  # (B, D)
    network = copy.deepcopy(model).eval().requires_grad_(True)
    similarities = [lambda z, t=t: (z * t.to(z)).sum() for t in targets]
    with GradCAM(model=network, target_layers=[network.backbone.get_submodule("layer4")]) as cam:
        return np.asarray(cam(input_tensor=images, targets=similarities))  # (B, H, W)
