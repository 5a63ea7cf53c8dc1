"""Widgets: every control changes the image, and errors are not swallowed."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

pytest.importorskip("ipywidgets")
pytest.importorskip("matplotlib")

import matplotlib.text

from dakd import figures, widgets
from dakd.data.records import Dataset, ImageSet, Record
from dakd.protocols import Trial

UNIT = torch.nn.functional.normalize


class Noise:
    """An image source with a different image in every row."""

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
def sysu(people):
    return Dataset(name="sysu", train=people, test=people)


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
def panels(people, sysu, trial, embeddings):
    """Every widget, and for each of its controls another value."""
    images = people.images()
    centres = UNIT(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    points = {name: np.random.default_rng(i).normal(size=(14, 2)) for i, name in enumerate("ab")}
    columns = {"infrared": people.infrared, "cams": people.cams, "pids": people.pids}
    return {
        "image_browser": (widgets.image_browser(people), {"person": 1, "camera": 3}),
        "ranking_playground": (widgets.ranking_playground(), {"image_1": 1, "image_3": 10}),
        "query_browser": (
            widgets.query_browser(sysu, embeddings, trial),
            {"query": 2, "apply_rule": False},
        ),
        "cutswap_playground": (
            widgets.cutswap_playground(images[:2], images[2:5]),
            {"kind": "infrared", "ratio": (0.5, 1.0), "channel": "red", "seed": 3, "p": 0.0},
        ),
        "loss_terms": (widgets.loss_terms(HISTORY), {"smooth": 0.2, "triplet": False}),
        "mask_explorer": (
            widgets.mask_explorer(images[:6], embeddings[:6], centres, [0, 1, 2, 0, 1, 2]),
            {"level": "instance", "quantile": 0.2, "temperature": 0.2, "keep": "none"},
        ),
        "gap_explorer": (
            widgets.gap_explorer(points, captions={"a": "x"}, **columns),
            {"model": "a", "colouring": "camera"},
        ),
        "gap_explorer with images": (
            widgets.gap_explorer(points, captions={"a": "x"}, images=images, **columns),
            {"model": "a", "colouring": "camera"},
        ),
    }


def seen(panel):
    """What a panel shows: the bytes of an image, or HTML."""
    if panel.html.value:
        assert panel.image.layout.display == "none"
        return panel.html.value
    assert panel.image.layout.display != "none"
    assert bytes(panel.image.value).startswith(b"\x89PNG")
    return bytes(panel.image.value)


def test_every_control_changes_the_image(panels):
    for name, (panel, moves) in panels.items():
        for control, value in moves.items():
            before = seen(panel)
            panel.controls[control].value = value
            assert seen(panel) != before, f"{name}: {control} changes nothing"


def test_every_widget_is_tested(panels):
    panels_made = {
        name
        for name in widgets.__all__
        if getattr(getattr(widgets, name), "__annotations__", {}).get("return") is widgets.Panel
    }
    assert panels_made == {name.split()[0] for name in panels}


def test_controls_are_labelled_and_panels_say_what_to_try(panels):
    for panel, moves in panels.values():
        assert all(control.description for control in panel.controls.values())
        # A selection whose value is None is shown as an empty field.
        assert all(control.value is not None for control in panel.controls.values())
        assert set(moves) <= set(panel.controls)
        assert panel.children[0].value.count(".") + panel.children[0].value.count("?") >= 1


def test_all_controls_work_from_the_keyboard(panels):
    kinds = {
        type(control).__name__
        for panel, _ in panels.values()
        for control in panel.controls.values()
    }
    assert kinds <= {"ToggleButtons", "Checkbox", "Dropdown", "IntSlider", "FloatSlider",
                     "FloatRangeSlider", "SelectionSlider"}  # fmt: skip


def test_cutswap_offers_infrared_images_only_where_it_has_them(people):
    images = people.images()
    assert "kind" not in widgets.cutswap_playground(images[:2]).controls
    panel = widgets.cutswap_playground(images[:2], images[2:5])
    assert "2 of 2 images" in shown(panel.render(p=1.0))
    assert "3 of 3 images" in shown(panel.render(kind="infrared", p=1.0))


def test_an_error_is_not_swallowed(people, sysu, embeddings, trial):
    panel = widgets.query_browser(sysu, embeddings, trial)
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


def test_camera_rule_decides_what_counts(people, sysu, trial):
    # Person 5 is only in camera 2 among the visible ones: a query of camera 3 has nothing to find.
    z = UNIT(torch.ones(len(people), 4), dim=1)
    query = int(np.flatnonzero(people.pids[trial.query] == 5)[0])
    assert "no right image" in shown(widgets.render_query(sysu, z, trial, query=query))
    free = widgets.render_query(sysu, z, trial, query=query, apply_rule=False)
    assert "AP 0.20" in shown(free)  # all equally similar: of equal ones the wrong come first


def test_camera_rule_changes_ap(people, sysu, trial):
    # All equally similar, and of equal ones the wrong come first: 5 5 9 9 7 7 7 7. Under the rule
    # only two 7s, of camera 1, are left.
    z = UNIT(torch.ones(len(people), 4), dim=1)
    query = int(np.flatnonzero(people.pids[trial.query] == 7)[0])
    assert "AP 1.00" in shown(widgets.render_query(sysu, z, trial, query=query))
    free = widgets.render_query(sysu, z, trial, query=query, apply_rule=False)
    assert "AP 0.37" in shown(free)  # (1/5 + 2/6 + 3/7 + 4/8) / 4 = 0.366


@pytest.mark.parametrize("name", ["regdb", "custom"])
def test_a_dataset_without_a_camera_rule_drops_nothing(people, trial, embeddings, name):
    # The same people, cameras and trial, in a dataset whose cameras 2 and 3 share no place.
    dataset = Dataset(name=name, train=people, test=people)
    panel = widgets.query_browser(dataset, embeddings, trial)
    assert list(panel.controls) == ["query"]
    assert "camera" not in panel.children[0].value
    for query in range(len(trial.query)):
        words = shown(widgets.render_query(dataset, embeddings, trial, query=query)).split()
        assert "–" not in words
        assert {"1", "8"} <= set(words)  # the ranks of all eight gallery images


def test_llcm_drops_images_of_the_query_identity_and_camera(embeddings):
    # All images are from one camera, so a query keeps other people's only.
    records = [
        Record(pid, 1, modality, number)
        for pid in (5, 7)
        for modality in ("visible", "infrared")
        for number in (1, 2)
    ]
    people = ImageSet(records, Noise())
    trial = Trial(0, np.flatnonzero(~people.infrared), np.flatnonzero(people.infrared))
    dataset = Dataset(name="llcm", train=people, test=people)
    figure = widgets.render_query(dataset, embeddings[:8], trial, query=0)
    assert shown(figure).split().count("–") == 2
    assert "no right image" in shown(figure)


def test_person_without_an_image_of_a_camera(people):
    assert "no image" in shown(widgets.render_person(people, person=0, camera=1))


def test_many_images_of_a_camera_take_several_lines():
    often = ImageSet([Record(5, 2, "visible", number) for number in range(20)], Noise())
    figure = widgets.render_person(often, person=0, camera=2)
    names = [text for text in figure.findobj(matplotlib.text.Text) if "image" in text.get_text()]
    assert len(names) == 20
    assert len({round(text.get_position()[1]) for text in names}) == 2
    assert {text.get_color() for text in names} == {figures.colour("visible")}


def test_people_have_a_dash_where_there_is_no_image(people):
    figure = widgets.render_people(people, people=[0, 1])
    assert {"person 5", "person 7", "camera 3\ninfrared"} <= {
        text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))
    }
    place = {t.get_text(): t.get_position() for t in figure.findobj(matplotlib.text.Text)}
    assert place["–"] == (place["camera 1\nvisible"][0], place["person 5"][1])
    assert [t.get_text() for t in figure.findobj(matplotlib.text.Text)].count("–") == 1


def test_cutswap_rectangles_only_where_it_acts(people):
    images = people.images()[:3]
    still = widgets.render_cutswap(images, p=0.0)
    assert "0 of 3 images" in shown(still)
    assert not [patch for axes in still.axes for patch in axes.patches]
    acting = widgets.render_cutswap(images, p=1.0)
    assert len([patch for axes in acting.axes for patch in axes.patches]) == 2 * 3


def test_images_have_no_tooltip_which_jupyterlab_cannot_show():
    panel = widgets.ranking_playground()
    assert panel.image.tooltip is None


def test_the_mask_shows_the_top_predictions():
    # The teacher's centre logits are (cosine / 0.05): image 0 lies on centre 1, image 1 between
    # centres 0 and 2.
    z = UNIT(torch.tensor([[0.0, 1, 0], [1, 0, 1]]), dim=1)
    images = torch.zeros(2, 3, 16, 8)
    figure = widgets.render_mask(images, z, torch.eye(3), [1, 2], top=2)
    printed = [
        t.get_text() for t in figure.findobj(matplotlib.text.Text) if ":" in t.get_text()[:2]
    ]
    assert printed[0] == "1: 1.00"
    assert sorted(printed[1:]) == ["0: .50", "2: .50"]
    assert "2: .50" in [
        t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_weight() == "bold"
    ]


class Points(HTMLParser):
    """The tags, inputs and words of a hover map."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.inputs, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inputs += [dict(attrs)] * (tag == "input")

    def handle_data(self, data):
        self.words.append(data)


def hover(people, **changes):
    points = np.random.default_rng(0).normal(size=(len(people), 2))
    given = {"infrared": people.infrared, "cams": people.cams, "pids": people.pids,
             "images": people.images()}  # fmt: skip
    return widgets.hover_map(points, **given | changes)


def test_hover_map_has_one_reachable_point_per_image(people):
    page = Points(hover(people, colouring="camera", title="DAKD", caption="gap 1"))
    assert len(page.inputs) == page.tags.count("figure") == len(people)
    first = page.inputs[0]
    assert "data-lm-suppress-shortcuts" in first  # or JupyterLab takes the arrow keys itself
    assert first["type"] == "radio"  # one stop of the Tab key, arrow keys from point to point
    assert first["aria-label"] == "person 5, camera 2, visible"
    assert len({point["name"] for point in page.inputs}) == 1
    assert sum(point["class"] == "ir" for point in page.inputs) == people.infrared.sum()
    assert {"DAKD", "gap 1", "camera 3", "infrared"} <= set(page.words)
    assert "script" not in page.tags


def test_hover_map_cuts_each_image_out_of_the_sprite(people):
    ramp = torch.arange(14)[:, None, None, None].expand(-1, 3, 16, 8).mul(18).byte()
    page = hover(people, images=ramp)
    data = re.search(r"base64,([A-Za-z0-9+/=]+)", page)[1]
    sprite = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    shifts = re.findall(r"--x:(-?\d+);--y:(-?\d+)\">person (\d+), camera (\d+)", page)
    assert len(shifts) == 14
    for x, y, pid, cam in shifts:
        rows = np.flatnonzero((people.pids == int(pid)) & (people.cams == int(cam)))
        pixel = int(sprite[-16 * int(y) + 8, -8 * int(x) + 4, 0])
        assert min(abs(pixel - 18 * rows)) <= 2


def test_hover_map_escapes_what_it_is_given(people):
    evil = '"><script>alert(1)</script>'
    page = hover(people, pids=np.array([evil] * len(people)), title=evil, caption=evil)
    assert "script" not in Points(page).tags
    assert len(Points(page).inputs) == len(people)


def test_hover_map_refuses_what_it_cannot_show(people):
    with pytest.raises(ValueError, match="draw a sample"):
        widgets.hover_map(np.zeros((1001, 2)), infrared=np.zeros(1001), images=[None] * 1001)
    with pytest.raises(ValueError, match="with n images"):
        hover(people, images=people.images()[:3])
    with pytest.raises(ValueError, match="colouring 'x' is unknown"):
        hover(people, colouring="x")
