"""Time of CMC, mAP and mINP of large rankings, against a plain loop over queries; and re-ranking.

The plain loop sorts the gallery of one query, drops images by the camera rule, and counts. It is
timed with a stable sort (equal similarities keep gallery order; ours rank wrong images first) and
with NumPy's default sort, which is faster and leaves the order of equal similarities open. Each of
our runs has its own process, in which the growth of the peak resident memory above the similarity
matrix is measured. ``--whole`` runs the plain loop over every query of the largest ranking too,
instead of 200 of them.
"""

import argparse
import multiprocessing
import os
import platform
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch

from dakd.evaluate.reranking import k_reciprocal
from dakd.metrics import rank_metrics

THREADS, ROUNDS, PART, D = 2, 5, 200, 64
SIZES = (
    ("sysu", 3803, 301), ("sysu", 3803, 3010), ("sysu", 3803, 30000), ("regdb", 2060, 2060),
)  # fmt: skip
RANKS = (1, 5, 10, 20)


def make_ranking(protocol: str, queries: int, gallery: int) -> tuple[np.ndarray, ...]:
    """Return similarity (float32), pids and cams of a ranking with the protocol's cameras."""
    rng = np.random.default_rng(0)
    people, cams = (96, ((3, 6), (1, 2, 4, 5))) if protocol == "sysu" else (206, ((2,), (1,)))
    pids = [np.sort(rng.permutation(n) % people) for n in (queries, gallery)]
    centres = rng.standard_normal((people, D), dtype=np.float32)
    query, images = (
        centres[ids] + 2 * rng.standard_normal((len(ids), D), dtype=np.float32) for ids in pids
    )
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    sides = [rng.choice(c, len(ids)) for c, ids in zip(cams, pids, strict=True)]
    return query @ images.T, *pids, *sides


def plain(protocol, similarity, query_pids, gallery_pids, query_cams, gallery_cams, kind):
    """Return CMC at RANKS, mAP and mINP, by a loop over queries."""
    firsts, aps, inps = [], [], []
    for scores, pid, cam in zip(similarity, query_pids, query_cams, strict=True):
        order = np.argsort(-scores, kind=kind)
        if protocol == "sysu":
            order = order[~((cam == 3) & (gallery_cams[order] == 2))]
        pids = gallery_pids[order]
        correct = pids == pid
        if not correct.any():
            continue
        precision = correct.cumsum() / np.arange(1, len(correct) + 1)
        aps.append(precision[correct].mean())
        inps.append(correct.sum() / (np.flatnonzero(correct)[-1] + 1))
        if protocol == "sysu":  # ranks count identities: keep the first image of each
            _, first = np.unique(pids, return_index=True)
            correct = correct[np.sort(first)]
        firsts.append(correct.argmax() + 1)
    cmc = [np.mean(np.array(firsts) <= k) for k in RANKS]
    return np.array([*cmc, np.mean(aps), np.mean(inps)])


def ours(size: tuple[str, int, int]) -> tuple[float, float, float]:
    """Return the seconds of the best round, and growth and value of the peak memory in MB."""
    torch.set_num_threads(THREADS)
    similarity, *labels = make_ranking(*size)
    before, times = peak(), []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        rank_metrics(similarity, *labels, protocol=size[0], ranks=RANKS)
        times.append(time.perf_counter() - start)
    return min(times), peak() - before, peak()


def peak() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def compare(size: tuple[str, int, int], whole: bool, took: float, grown: float, top: float) -> None:
    protocol, queries, gallery = size
    similarity, query_pids, gallery_pids, query_cams, gallery_cams = make_ranking(*size)
    part = np.arange(queries)
    if gallery > 5000 and not whole:
        part = np.sort(np.random.default_rng(1).choice(queries, PART, replace=False))
    case = (similarity[part], query_pids[part], gallery_pids, query_cams[part], gallery_cams)
    got = rank_metrics(*case, protocol=protocol, ranks=RANKS)
    values = np.array([*got.cmc.values(), got.mAP, got.mINP])
    seconds = []
    for kind in ("stable", "quicksort"):
        start = time.perf_counter()
        expected = plain(protocol, *case, kind=kind)
        seconds.append((time.perf_counter() - start) * queries / len(part))
        if kind == "stable" and not np.allclose(values, expected, rtol=0, atol=1e-6):
            raise SystemExit(f"{size}: {values} against {expected} of the plain loop")
    ratios = "".join(f"{one:9.3f} s {one / took:5.0f} x" for one in seconds)
    note = f"  plain: {PART} queries, scaled" if len(part) < queries else ""
    print(
        f"{protocol:5} {queries} x {gallery:<5} {took:7.3f} s{ratios}{grown:8.0f}{top:8.0f}{note}"
    )


def rerank() -> None:
    for gallery in (301, 3010):
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(3803 + gallery, 2048, generator=generator)
        start = time.perf_counter()
        k_reciprocal(images[:3803], images[3803:])
        print(f"k_reciprocal 3803 + {gallery}, D 2048: {time.perf_counter() - start:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="the plain loop over every query")
    whole = parser.parse_args().whole
    torch.set_num_threads(THREADS)
    versions = f"torch {torch.__version__}, NumPy {np.__version__}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {THREADS} threads, {versions}")
    print(f"ours: best of {ROUNDS}; memory in MB: added to the process's peak, and that peak")
    print(f"{'':18} {'ours':>9}{'plain, stable':>19}{'default sort':>19}{'added':>8}{'peak':>8}")
    measured = []  # first, because on Linux a process inherits the peak of its parent
    for size in SIZES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            measured.append(pool.submit(ours, size).result())
    for size, (took, grown, top) in zip(SIZES, measured, strict=True):
        compare(size, whole, took, grown, top)
    rerank()


if __name__ == "__main__":
    main()
