"""Mutation tests: with each rule broken on purpose, a test must fail."""

import dataclasses
import random

import numpy as np
import pytest
import test_metrics
import test_protocols

from dakd import metrics
from dakd.metrics import _average_precision, rank_metrics
from dakd.protocols import PROTOCOLS, trials
from dakd.protocols.trials import (
    _draw_agw,
    _draw_official,
    _group_by_identity_and_camera,
    _rows,
)


def rule(protocol, **change):
    """A protocol with another rule."""
    return lambda patch: patch.setitem(PROTOCOLS, protocol, PROTOCOLS[protocol]._replace(**change))


def part(name, wrong, module=metrics):
    """Another function of a module."""
    return lambda patch: patch.setattr(module, name, wrong)


def whole(wrong):
    """Another `rank_metrics`."""
    return lambda patch: patch.setattr(test_metrics, "rank_metrics", wrong)


def same_camera_pair_and_identity(query, gallery):
    return (query.cams == 3) & (gallery.cams == 2) & (query.pids == gallery.pids)


def whole_camera(query, gallery):
    return query.cams == gallery.cams


def unmatched_as_zeros(*args, **settings):
    result = rank_metrics(*args, **settings)
    share = result.num_valid / result.num_queries
    return dataclasses.replace(
        result,
        cmc={rank: value * share for rank, value in result.cmc.items()},
        mAP=result.mAP * share,
        mINP=result.mINP * share,
    )


def labels_exchanged(
    similarity, query_pids, gallery_pids, query_cams=None, gallery_cams=None, **settings
):
    return rank_metrics(similarity, gallery_pids, query_pids, gallery_cams, query_cams, **settings)


def later_column_first(scores):
    return np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1).astype(np.int32)


def interpolated(position, matches):
    """AP as the area under straight lines between precisions, as of Oxford Buildings."""
    hits = np.arange(1, position.shape[1] + 1)
    before = np.where(position > 1, (hits - 1) / np.maximum(position - 1, 1), 1.0)
    precision = (hits / position + before) / 2
    return np.where(hits <= matches[:, None], precision, 0.0).sum(axis=1) / np.maximum(matches, 1)


def divided_by_the_longest(position, matches):
    return _average_precision(position, matches) * matches / position.shape[1]


def up_to_the_first(position, matches):
    return matches / position[:, 0]


def kind(name):
    return lambda: test_metrics.test_data_of_every_kind(name, ties=False, people=30)


def memory():
    with pytest.MonkeyPatch.context() as patch:
        test_metrics.test_memory_is_that_of_a_chunk(patch)


by_camera = test_metrics.test_sysu_drops_camera_2_for_queries_of_camera_3
by_unit = test_metrics.test_a_rank_counts_images_or_identities
by_hand = test_metrics.test_values_by_hand
MUTANTS = {
    "sysu: camera rule by identity": (rule("sysu", drop=same_camera_pair_and_identity), by_camera),
    "sysu: no camera rule": (rule("sysu", drop=None), by_camera),
    "sysu: the rule of llcm": (rule("sysu", drop=PROTOCOLS["llcm"].drop), by_camera),
    "sysu: ranks count images": (rule("sysu", unit="image"), by_unit),
    "sysu: direction swapped": (rule("sysu", exchanged=True), kind("sysu all single")),
    "llcm: drops the camera": (
        rule("llcm", drop=whole_camera),
        test_metrics.test_llcm_drops_the_same_identity_in_the_same_camera_only,
    ),
    "llcm: no camera rule": (rule("llcm", drop=None), kind("llcm")),
    "llcm: direction swapped": (rule("llcm", exchanged=True), kind("llcm")),
    "llcm-released: as intended": (
        rule("llcm-released", exchanged=False),
        test_metrics.test_the_released_llcm_script_ranks_the_queries,
    ),
    "regdb: ranks count identities": (rule("regdb", unit="identity"), by_unit),
    "regdb: direction swapped": (rule("regdb", exchanged=True), kind("regdb thermal to visible")),
    "regdb: labels exchanged": (whole(labels_exchanged), kind("regdb thermal to visible")),
    "queries without match count as 0": (
        whole(unmatched_as_zeros),
        test_metrics.test_queries_without_match_are_excluded_from_means_and_counted,
    ),
    "ties in another order": (
        part("_codes", later_column_first),
        lambda: test_metrics.test_ties_count_against_the_query("image"),
    ),
    "AP interpolated": (part("_average_precision", interpolated), by_hand),
    "AP over the largest number of matches": (
        part("_average_precision", divided_by_the_longest),
        by_camera,
    ),
    "INP of the first match": (part("_last_penalty", up_to_the_first), by_hand),
    "chunks without a bound": (
        lambda patch: patch.setattr(metrics._Ranking, "KEYS", 2**40),
        memory,
    ),
}


def draw_from_the_global_generator(groups, shots, number):
    random.seed(number)
    return np.array([random.choice(rows.tolist()) for rows in groups.values()])


def camera_by_camera(test, eligible):
    groups = _group_by_identity_and_camera(test, eligible)
    return dict(sorted(groups.items(), key=lambda item: item[0][::-1]))


def galleries(mode, cams, shots, sampling):
    return lambda: test_protocols.test_query_and_gallery(mode, cams, shots, sampling)


ALL, INDOOR = (1, 2, 4, 5), (1, 2)
MUTANTS |= {
    "sysu: global generator": (
        part("_draw_agw", draw_from_the_global_generator, trials),
        lambda: test_protocols.test_agw_draws_equal_those_of_the_published_loop("all", 1),
    ),
    "sysu: draws camera by camera": (
        part("_group_by_identity_and_camera", camera_by_camera, trials),
        lambda: test_protocols.test_agw_draws_equal_those_of_the_published_loop("all", 1),
    ),
    "sysu: shots ignored": (
        part("_draw_agw", lambda groups, _, number: _draw_agw(groups, 1, number), trials),
        galleries("all", ALL, 10, "agw"),
    ),
    "sysu: official shots ignored": (
        part(
            "_draw_official",
            lambda groups, _, *others: _draw_official(groups, 1, *others),
            trials,
        ),
        galleries("all", ALL, 10, "official"),
    ),
    "sysu: every trial is the first": (
        part("_draw_agw", lambda groups, shots, _: _draw_agw(groups, shots, 0), trials),
        galleries("all", ALL, 1, "agw"),
    ),
    "sysu: official draws of the first row": (
        part(
            "_draw_official",
            lambda groups, shots, _, draws: _draw_official(groups, shots, 0, draws),
            trials,
        ),
        test_protocols.test_official_draws_follow_the_permutations,
    ),
    "sysu: indoor search outdoors": (
        lambda patch: patch.setitem(trials.GALLERY_CAMS, "indoor", ALL),
        galleries("indoor", INDOOR, 1, "agw"),
    ),
    "sysu: queries of one camera": (
        part("QUERY_CAMS", (3,), trials),
        galleries("all", ALL, 1, "agw"),
    ),
    "regdb: sides exchanged": (
        part("_rows", lambda *direction: _rows(*direction)[::-1], trials),
        lambda: test_protocols.test_all_images_of_a_modality_are_queries_or_gallery(
            trials.regdb_trials, "infrared", "visible"
        ),
    ),
    "llcm: sides exchanged": (
        part("_rows", lambda *direction: _rows(*direction)[::-1], trials),
        lambda: test_protocols.test_llcm_draws_are_those_of_the_released_script(
            "infrared", "visible"
        ),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_detected(name, monkeypatch):
    mutate, test = MUTANTS[name]
    test()
    mutate(monkeypatch)
    state = random.getstate()
    with pytest.raises(AssertionError):
        test()
    random.setstate(state)
