"""Rankings and re-ranking one image at a time, in float64: slow, and easy to check by eye."""

import math

import numpy as np


def dropped(protocol, query_pid, gallery_pid, query_cam, gallery_cam):
    if protocol == "sysu":
        return query_cam == 3 and gallery_cam == 2
    if protocol == "llcm":
        return query_pid == gallery_pid and query_cam == gallery_cam
    return False


def rank_one_query(scores, query_pid, gallery_pids, query_cam, gallery_cams, protocol, unit):
    """Return (rank of the first match, AP, INP), or None without a match."""
    scores = [float(s) for s in scores]
    line = sorted(range(len(scores)), key=lambda j: (-scores[j], gallery_pids[j] == query_pid))
    line = [
        gallery_pids[j]
        for j in line
        if not dropped(protocol, query_pid, gallery_pids[j], query_cam, gallery_cams[j])
    ]
    correct = [rank for rank, pid in enumerate(line, start=1) if pid == query_pid]
    if not correct:
        return None
    first = correct[0]
    if unit == "identity":
        first = len(set(line[: first - 1])) + 1
    precisions = [hits / rank for hits, rank in enumerate(correct, start=1)]
    return first, sum(precisions) / len(precisions), len(correct) / correct[-1]


def slow_rank_metrics(
    similarity, query_pids, gallery_pids, query_cams, gallery_cams, protocol, unit, ranks
):
    """Return (cmc, mAP, mINP, number of valid queries)."""
    if protocol == "llcm-released":  # every gallery image looks for its person among the queries
        return slow_rank_metrics(
            similarity.T, gallery_pids, query_pids, gallery_cams, query_cams, "llcm", unit, ranks
        )
    rows = [
        rank_one_query(scores, pid, list(gallery_pids), cam, list(gallery_cams), protocol, unit)
        for scores, pid, cam in zip(similarity, query_pids, query_cams, strict=True)
    ]
    rows = [row for row in rows if row is not None]
    first, ap, inp = np.array(rows, dtype=np.float64).T
    return {k: np.mean(first <= k) for k in ranks}, ap.mean(), inp.mean(), len(rows)


def slow_k_reciprocal(query, gallery, k1, k2, weight):
    """Return minus the final distance, (Q, G), with Python's sets and sums."""
    images = [*query.tolist(), *gallery.tolist()]
    everyone = range(len(images))
    distance = [[math.dist(a, b) ** 2 for b in images] for a in images]
    distance = [[d / max(row) for d in row] for row in distance]
    nearest = [sorted(everyone, key=lambda j: distance[i][j]) for i in everyone]

    def reciprocal(i, k):
        return {j for j in nearest[i][: k + 1] if i in nearest[j][: k + 1]}

    weights = []
    for i in everyone:
        core = reciprocal(i, k1)
        expanded = set(core)
        for j in core:
            candidate = reciprocal(j, round(k1 / 2))
            if 3 * len(candidate & core) > 2 * len(candidate):
                expanded |= candidate
        row = [math.exp(-distance[i][j]) if j in expanded else 0.0 for j in everyone]
        weights.append([w / sum(row) for w in row])
    weights = [
        [sum(weights[j][c] for j in nearest[i][:k2]) / k2 for c in everyone] for i in everyone
    ]

    result = np.empty((len(query), len(gallery)))
    for q in range(len(query)):
        for g in range(len(gallery)):
            other = len(query) + g
            least = sum(map(min, weights[q], weights[other]))
            most = sum(map(max, weights[q], weights[other]))
            result[q, g] = -(1 - weight) * (1 - least / most) - weight * distance[q][other]
    return result
