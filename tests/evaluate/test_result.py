import json
import multiprocessing
import time

import pandas as pd
import pytest

from dakd.evaluate.result import Result

HEADER = {
    "dataset": "regdb", "drawn": False, "data_fingerprint": "a", "protocol": "regdb",
    "query": "visible", "gallery": "infrared", "mode": None, "shots": None, "sampling": None,
    "queries": 20,
    "valid_queries": 18, "gallery_images": 20, "images_per_identity_and_camera": [10, 10],
    "camera_rule": "nothing", "ranks_count": "images", "feature": "neck", "flip": "off",
    "reranking": "off", "versions": {"python": "3"},
}  # fmt: skip
SAVED_BY_EACH = 3  # records per process


def make(trial=1, rank1=0.5, **changes):
    row = {"rank1": rank1, "rank5": 0.6, "rank10": 0.7, "rank20": 0.8, "mAP": 0.4, "mINP": 0.1}
    return Result(HEADER | changes, pd.DataFrame([row], index=[f"trial {trial}"]))


def test_mean_std_and_table_are_over_trials_in_per_cent():
    result = Result.join([make(1, 0.5), make(2, 0.7)])
    assert result.mean["rank1"] == pytest.approx(0.6)
    assert result.std["rank1"] == pytest.approx(0.2 / 2**0.5)
    assert result.table.loc["trial 2", "rank1"] == pytest.approx(70)
    assert make().std["rank1"] == 0


def test_the_title_omits_settings_that_the_protocol_does_not_have():
    title = make().title
    assert "protocol regdb: visible → infrared, 1 trial, 18 of 20 queries" in title
    assert "search" not in title
    assert "sampling" not in title
    assert title in str(make())
    assert title in make()._repr_html_()


def test_the_title_states_that_a_gallery_has_fewer_images_than_shots():
    sysu = {"mode": "all", "shots": 10, "sampling": "agw"}
    short = make(**sysu, images_per_identity_and_camera=[3, 7])
    assert "(only 3 to 7 per identity and camera" in short.title
    assert "only" not in make(**sysu).title


def test_save_and_load_are_inverse(tmp_path):
    result = Result.join([make(1), make(2, queries=22, data_fingerprint="b")])
    path = result.save(tmp_path / "new" / "r.json")
    record = json.loads(path.read_text())
    assert (record["mean"]["mAP"], record["trials"]["trial 2"]["rank1"]) == (0.4, 0.5)
    back = Result.load(path)
    assert back.header == result.header
    pd.testing.assert_frame_equal(back.trials, result.trials)
    assert str(back) == str(result)


def test_a_record_of_other_settings_is_never_overwritten(tmp_path):
    path = tmp_path / "r.json"
    changes = ({}, {"flip": "on"}, {"trial": 2}, {"reranking": "k-reciprocal"}, {"network": "b"})
    results = [make(**{"network": "a"} | change) for change in changes]
    paths = [result.save(path) for result in results]
    assert [path.name for path in paths] == [
        "r.json", "r-2.json", "r-3.json", "r-4.json", "r-5.json"
    ]  # fmt: skip
    for saved, result in zip(paths, results, strict=True):
        assert Result.load(saved).header == result.header
    newer = make(network="a", flip="on", versions={"python": "4"})
    assert newer.save(path) == paths[1]  # the same measurement again
    assert Result.load(paths[1]).header["versions"] == {"python": "4"}
    assert len(list(tmp_path.glob("[!.]*"))) == 5


@pytest.mark.parametrize("network", [{}, {"network": "student.safetensors"}])
def test_networks_of_the_same_name_or_none_are_distinguished_by_their_numbers(tmp_path, network):
    results = [make(rank1=r, **network) for r in (0.5, 0.6, 0.5, 0.6)]
    names = [result.save(tmp_path / "r.json").name for result in results]
    assert names == ["r.json", "r-2.json", "r.json", "r-2.json"]
    assert Result.load(tmp_path / "r.json").mean["rank1"] == 0.5


def save_many(barrier, path, seed):
    choose = Result._free_path

    def slowly(self, path):
        chosen = choose(self, path)
        time.sleep(0.05)  # long enough for another process to choose the same path
        return chosen

    Result._free_path = slowly
    barrier.wait(60)
    for number in range(SAVED_BY_EACH):
        make(network=f"{seed}-{number}").save(path)


def test_processes_that_save_to_the_same_path_lose_no_record(tmp_path):
    start = multiprocessing.get_context("spawn")
    barrier = start.Barrier(3)
    paths = [tmp_path / name for name in ("r.json", "r.json", "r-2.json")]
    processes = [
        start.Process(target=save_many, args=(barrier, path, seed))
        for seed, path in enumerate(paths)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    saved = {Result.load(path).header["network"] for path in tmp_path.glob("[!.]*")}
    assert saved == {f"{seed}-{number}" for seed in range(3) for number in range(SAVED_BY_EACH)}


@pytest.mark.parametrize("content", ["precious", "{}", ""])
def test_a_file_that_is_no_record_is_never_overwritten(tmp_path, content):
    path = tmp_path / "r.v1.json"
    path.write_text(content)
    (tmp_path / "r.v1-2.json").mkdir()
    (tmp_path / "r.v1-3.json").symlink_to(tmp_path / "nowhere")
    assert make().save(path).name == "r.v1-4.json"
    assert path.read_text() == content


def test_headers_are_compared_as_json(tmp_path):
    result = make(sizes=(1, 2), by={1: "a"})  # JSON has neither tuples nor integer keys
    assert [result.save(tmp_path / "r.json").name for _ in range(2)] == ["r.json"] * 2


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make().save("~/r.json") == tmp_path / "r.json"
    assert Result.load("~/r.json").header == HEADER


def test_the_title_states_problems_that_affect_the_numbers():
    title = make(queries_without_order=20, repeated_pictures=3).title
    assert "20 queries are equally similar to all gallery images" in title
    assert "3 images are in the dataset more than once" in title
    joined = Result.join([make(1, repeated_pictures=0), make(2, repeated_pictures=4)])
    assert "4 images are" in joined.title
    fine = make(queries_without_order=0, repeated_pictures=None)
    assert fine.title == make().title


def test_the_title_states_an_exchange():
    words = "visible → infrared (exchanged: drawn infrared images rank all visible images)"
    assert words in make(exchanged=True).title
    assert "exchanged" not in make(exchanged=False).title


def test_joined_trials_with_different_counts_show_their_range():
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
        ([make(1), make(1)], "trial 1 is repeated"),
        ([make(1), make(2, corrupted="gallery")], "different corrupted cannot be joined"),
    ],
)
def test_results_that_cannot_be_joined(results, message):
    with pytest.raises(ValueError, match=message):
        Result.join(results)


@pytest.mark.parametrize(
    "text",
    ["no json", "", "[]", "null", "7", "[" * 10**5, '{"trials": 3}', '{"mean": {}}', "\xff\xfe"],
)
def test_a_file_that_is_no_record(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"r\.json is not a result saved by dakd"):
        Result.load(path)


@pytest.mark.parametrize("value", ["missing", None, "text", 3, [], {}])
@pytest.mark.parametrize("key", ["trials", "trial 1", "mAP", "queries", "dataset", "mode", "shots",
    "images_per_identity_and_camera", "mean"])  # fmt: skip
def test_a_damaged_record_raises_or_can_be_printed(tmp_path, key, value):
    path = make().save(tmp_path / "r.json")
    record = json.loads(path.read_text())
    part = record
    if key in ("trial 1", "mAP"):
        part = record["trials"] if key == "trial 1" else record["trials"]["trial 1"]
    if value == "missing":
        del part[key]
    else:
        part[key] = value
    path.write_text(json.dumps(record))
    try:
        output = str(Result.load(path))
    except ValueError as error:
        output = str(error)
    harmless = value == 3 and key not in ("trials", "trial 1")
    harmless |= key in ("dataset", "mode", "mean") or (key == "shots" and not value)
    assert "r.json is not a result saved by dakd" in output or (harmless and "rank1" in output)
