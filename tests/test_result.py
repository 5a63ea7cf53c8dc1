import json

import pandas as pd
import pytest

from dakd.result import Result

HEADER = {
    "dataset": "regdb", "drawn": False, "data_fingerprint": "a", "protocol": "regdb",
    "query": "visible", "gallery": "infrared", "mode": None, "shots": None, "sampling": None,
    "queries": 20,
    "valid_queries": 18, "gallery_images": 20, "images_per_identity_and_camera": [10, 10],
    "camera_rule": "nothing", "ranks_count": "images", "feature": "neck", "flip": "off",
    "reranking": "off", "versions": {"python": "3"},
}  # fmt: skip


def make(trial=1, rank1=0.5, **changes):
    row = {"rank1": rank1, "rank5": 0.6, "rank10": 0.7, "rank20": 0.8, "mAP": 0.4, "mINP": 0.1}
    return Result(HEADER | changes, pd.DataFrame([row], index=[f"trial {trial}"]))


def test_mean_std_and_table_are_over_trials_in_per_cent():
    result = Result.join([make(1, 0.5), make(2, 0.7)])
    assert result.mean["rank1"] == pytest.approx(0.6)
    assert result.std["rank1"] == pytest.approx(0.2 / 2**0.5)
    assert result.table.loc["trial 2", "rank1"] == pytest.approx(70)
    assert make().std["rank1"] == 0


def test_the_title_leaves_out_what_the_protocol_does_not_know():
    title = make().title
    assert "protocol regdb: visible → infrared, 1 trial, 18 of 20 queries" in title
    assert "search" not in title
    assert "sampling" not in title
    assert title in str(make())
    assert title in make()._repr_html_()


def test_a_gallery_with_fewer_images_than_shots_is_said():
    sysu = {"mode": "all", "shots": 10, "sampling": "agw"}
    short = make(**sysu, images_per_identity_and_camera=[3, 7])
    assert "(only 3 to 7 an identity and camera" in short.title
    assert "only" not in make(**sysu).title


def test_a_saved_record_comes_back(tmp_path):
    result = Result.join([make(1), make(2, queries=22, data_fingerprint="b")])
    path = result.save(tmp_path / "new" / "r.json")
    record = json.loads(path.read_text())
    assert (record["mean"]["mAP"], record["trials"]["trial 2"]["rank1"]) == (0.4, 0.5)
    back = Result.load(path)
    assert back.header == result.header
    pd.testing.assert_frame_equal(back.trials, result.trials)
    assert str(back) == str(result)


def test_trials_that_differ_in_counts_are_joined_and_show_it():
    result = Result.join([make(1), make(2, queries=22, data_fingerprint="b")])
    assert result.header["queries"] == [20, 22]
    assert result.header["data_fingerprint"] == ["a", "b"]
    assert "18 of 20 to 22 queries" in result.title


def test_a_joined_result_can_be_joined_again_and_versions_may_differ():
    first = Result.join([make(1), make(2, queries=22)])
    result = Result.join([first, make(3, versions={"python": "4"})])
    assert result.header["queries"] == [20, 22, 20]
    assert result.header["versions"] == [{"python": "3"}, {"python": "4"}]
    assert "20 to 22 queries" in str(result)


def test_drawn_people_are_not_called_by_the_name_of_the_dataset():
    assert make().title.startswith("regdb ·")
    assert make(drawn=True).title.startswith("drawn people, layout of regdb ·")
    assert make(dataset="synthetic", drawn=True).title.startswith("drawn people, in memory ·")
    assert "corrupted: gallery" in make(corrupted="gallery").title
    assert "corrupted" not in make(corrupted="none").title


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "no result to join"),
        ([make(1), make(2, query="infrared")], "different query cannot be joined.*infrared"),
        ([make(1), make(2, flip="on")], "different flip cannot be joined"),
        ([make(1), make(1)], "trial 1 is there more than once"),
    ],
)
def test_what_cannot_be_joined(results, message):
    with pytest.raises(ValueError, match=message):
        Result.join(results)


@pytest.mark.parametrize("text", ["no json", "[]", '{"trials": 3}', '{"mean": {}}'])
def test_a_file_that_is_no_record(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"r\.json is no result saved by dakd"):
        Result.load(path)
