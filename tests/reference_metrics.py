"""CMC, AP and INP one query and one image at a time, in float64: slow, and easy to check by eye."""

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
    line = sorted(range(len(scores)), key=lambda j: (-scores[j], j))
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
    rows = [
        rank_one_query(scores, pid, list(gallery_pids), cam, list(gallery_cams), protocol, unit)
        for scores, pid, cam in zip(similarity, query_pids, query_cams, strict=True)
    ]
    rows = [row for row in rows if row is not None]
    first, ap, inp = np.array(rows, dtype=np.float64).T
    return {k: np.mean(first <= k) for k in ranks}, ap.mean(), inp.mean(), len(rows)
