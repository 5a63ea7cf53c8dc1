"""Widgets: every control moves the picture, and an error is an error."""

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("ipywidgets")

from dakd import widgets
from dakd.data.records import ImageSet, Record
from dakd.protocols import Trial

UNIT = torch.nn.functional.normalize


class Noise:
    """An image source whose pictures differ from row to row."""

    def read(self, rows):
        seeded = [torch.Generator().manual_seed(int(row)) for row in rows]
        return torch.stack([torch.randint(0, 256, (3, 16, 8), generator=g).byte() for g in seeded])


@pytest.fixture(scope="module")
def people():
    """Three people; cameras 2 (visible) and 3 (infrared), person 7 also in 1 (visible)."""
    seen = [(5, 2), (5, 3), (7, 1), (7, 2), (7, 3), (9, 2), (9, 3)]
    records = [
        Record(pid, cam, "infrared" if cam == 3 else "visible", number)
        for pid, cam in seen
        for number in (1, 2)
    ]
    return ImageSet(records, Noise())


@pytest.fixture(scope="module")
def trial(people):
    query, gallery = np.flatnonzero(people.infrared), np.flatnonzero(~people.infrared)
    return Trial(0, query, gallery)


@pytest.fixture(scope="module")
def embeddings(people):
    return UNIT(torch.randn(len(people), 4, generator=torch.Generator().manual_seed(0)), dim=1)


HISTORY = pd.DataFrame({"epoch": [0] * 6, "step": range(6), "loss": [6.0, 5, 4, 3, 2, 1],
                        "triplet": [3.0, 2.5, 2, 1.5, 1, 0.5], "mutual": [3.0, 2.5, 2, 1, 1, 0.5],
                        "lr": [0.1] * 6})  # fmt: skip


@pytest.fixture(scope="module")
def panels(people, trial, embeddings):
    """Every widget, and for each of its controls another value."""
    pictures = people.images()
    centres = UNIT(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    points = {name: np.random.default_rng(i).normal(size=(14, 2)) for i, name in enumerate("ab")}
    columns = {"infrared": people.infrared, "cams": people.cams, "pids": people.pids}
    return {
        "image_browser": (widgets.image_browser(people), {"person": 1, "camera": 3}),
        "ranking_playground": (widgets.ranking_playground(), {"image_1": 1, "image_3": 10}),
        "query_browser": (
            widgets.query_browser(people, embeddings, trial),
            {"query": 2, "camera_rule": False},
        ),
        "cutswap_playground": (
            widgets.cutswap_playground(pictures[:2]),
            {"ratio": (0.5, 1.0), "channel": "red", "seed": 3, "p": 0.0},
        ),
        "loss_terms": (widgets.loss_terms(HISTORY), {"smooth": 0.2, "triplet": False}),
        "mask_explorer": (
            widgets.mask_explorer(pictures[:6], embeddings[:6], centres, [0, 1, 2, 0, 1, 2]),
            {"level": "instance", "quantile": 0.2, "temperature": 0.2, "keep": "none"},
        ),
        "gap_explorer": (
            widgets.gap_explorer(points, captions={"a": "x"}, **columns),
            {"model": "a", "colouring": "camera"},
        ),
    }


def test_every_control_changes_the_picture(panels):
    for name, (panel, moves) in panels.items():
        for control, value in moves.items():
            before = bytes(panel.picture.value)
            assert before.startswith(b"\x89PNG")
            panel.controls[control].value = value
            assert bytes(panel.picture.value) != before, f"{name}: {control} moves nothing"


def test_every_widget_is_tested(panels):
    made = {name for name in widgets.__all__ if not name.startswith("render_")}
    assert made - {"Panel"} == set(panels)


def test_controls_are_labelled(panels):
    for panel, moves in panels.values():
        assert all(control.description for control in panel.controls.values())
        assert set(moves) <= set(panel.controls)


def test_an_error_is_not_swallowed(people, embeddings, trial):
    panel = widgets.query_browser(people, embeddings, trial)
    panel.controls["query"].max = 99
    with pytest.raises(IndexError):
        panel.controls["query"].value = 99
    with pytest.raises(ValueError, match="not finite"):
        widgets.mask_explorer(people.images()[:1], torch.full((1, 4), torch.nan), torch.eye(4), [0])


def shown(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_ranking_by_hand():
    figure = widgets.render_ranking([1, 4], length=5)
    assert "AP 0.750   INP 0.500   rank-1 1" in shown(figure)  # (1/1 + 2/4) / 2 and 2/4
    assert shown(widgets.render_ranking([1, 1], length=5)) == shown(
        widgets.render_ranking([1, 2], length=5)
    )
    with pytest.raises(ValueError, match="position 6"):
        widgets.render_ranking([6], length=5)


def test_camera_rule_decides_what_counts(people, trial):
    # Person 5 is only in camera 2 among the visible ones: a query of camera 3 has nothing to find.
    z = UNIT(torch.ones(len(people), 4), dim=1)
    query = int(np.flatnonzero(people.pids[trial.query] == 5)[0])
    assert "nobody right" in shown(widgets.render_query(people, z, trial, query=query))
    free = widgets.render_query(people, z, trial, query=query, camera_rule=False)
    assert "AP 1.00" in shown(free)  # all equally similar: gallery order, person 5 first


def test_camera_rule_changes_ap(people, trial):
    # All equally similar, so the gallery keeps its order: 5 5 7 7 7 7 9 9; only two 7s, of camera
    # 1, are left under the rule. Without it 7 is at ranks 3 to 6.
    z = UNIT(torch.ones(len(people), 4), dim=1)
    query = int(np.flatnonzero(people.pids[trial.query] == 7)[0])
    assert "AP 1.00" in shown(widgets.render_query(people, z, trial, query=query))
    free = widgets.render_query(people, z, trial, query=query, camera_rule=False)
    assert "AP 0.52" in shown(free)  # (1/3 + 2/4 + 3/5 + 4/6) / 4 = 0.525


def test_person_never_seen_by_a_camera(people):
    assert "never seen" in shown(widgets.render_person(people, person=0, camera=1))


def test_people_have_a_dash_where_they_were_never_seen(people):
    figure = widgets.render_people(people, people=[0, 1])
    assert {"person 5", "person 7", "camera 3\ninfrared"} <= {
        text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))
    }
    assert [len(axes.images) for axes in figure.axes] == [0, 1, 1, 1, 1, 1]  # 5 is not in camera 1


def test_cutswap_rectangles_only_where_it_acts(people):
    pictures = people.images()[:3]
    still = widgets.render_cutswap(pictures, p=0.0)
    assert "0 of 3 images" in shown(still)
    assert not [patch for axes in still.axes for patch in axes.patches]
    acting = widgets.render_cutswap(pictures, p=1.0)
    assert len([patch for axes in acting.axes for patch in axes.patches]) == 2 * 3


def test_pictures_have_no_tooltip_which_jupyterlab_cannot_show():
    panel = widgets.ranking_playground()
    assert panel.picture.tooltip is None
