import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import dakd.data.verify.files as module
from dakd.config import SyntheticConfig
from dakd.data import load_dataset
from dakd.data.export import export_dataset
from dakd.data.records import MARKER
from dakd.data.sysu import CAMERAS, read_permutations
from dakd.data.verify import verify
from dakd.data.verify.expected import ALL, LLCM, SYSU, SYSU_LISTS, expected_counts, tally

CONFIG = SyntheticConfig(train_ids=8, test_ids=20, images_per_camera=2, clutter=0)
QUIET = {"show": False, "warn": False}
LISTS = Path(__file__).parents[3] / "shared" / "data" / "sysu_mm01"
LISTS = Path(os.environ.get("DAKD_SYSU_LISTS", LISTS))
with_lists = pytest.mark.skipif(
    not (LISTS / "rand_perm_cam.mat").is_file(), reason="the official lists are not on this machine"
)


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """One small export a layout; tests work on copies."""
    folder = tmp_path_factory.mktemp("exports")
    for layout in ("sysu", "regdb", "llcm", "custom"):
        export_dataset(layout, CONFIG, folder / layout, height=16, width=8, **QUIET)
    return folder


@pytest.fixture
def copy(exports, tmp_path):
    def make(layout):
        return shutil.copytree(exports / layout, tmp_path / "vis cam1 données" / layout)

    return make


def check(name, root, **kwargs):
    return verify(name, root / "people.csv" if name == "custom" else root, show=False, **kwargs)


def found(report):
    return [(problem.kind, problem.where) for problem in report.problems]


def assert_found(report, *problems):
    """Each fault once, under its kind and place, and nothing else."""
    assert sorted(found(report)) == sorted(problems), str(report)
    assert report.ok is not bool(problems)


def counts(report, *key):
    """identities, known identities, images and known images of one row"""
    table = report.counts.set_index(["split", "modality", "camera"])
    return table.loc[key].tolist()


# Good copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "images"), [("sysu", 288), ("regdb", 112), ("llcm", 524), ("custom", 288)]
)
def test_a_good_copy(exports, layout, images):
    report = check(layout, exports / layout)
    assert_found(report)
    assert report.decoded == images
    first = str(report).splitlines()[0]
    assert first.startswith("Drawn people")
    assert f"complete; {images} images decoded" in first
    known = report.counts[["known identities", "known images"]]
    assert (known.to_numpy() == report.counts[["identities", "images"]].to_numpy()).all()
    assert check(layout, exports / layout, decode=False).decoded == 0


def test_counts_of_exports(exports):
    """Of 28 identities, 12 are 2 or 4 modulo 5 and two are 7 modulo 16: 16 and 26 are left."""
    sysu = check("sysu", exports / "sysu", decode=False)
    assert counts(sysu, ALL, ALL, ALL) == [28, 28, 288, 288]
    assert counts(sysu, "train", "visible", 1) == [5, 5, 10, 10]  # 1, 3, 5, 6, 8
    assert counts(sysu, "train", "infrared", 3) == [7, 7, 14, 14]  # not 7
    llcm = check("llcm", exports / "llcm", decode=False)
    assert counts(llcm, "test", "visible", 3) == [19, 19, 38, 38]  # not 23
    assert ("test", "infrared", 3) not in set(llcm.counts.itertuples(index=False))
    regdb = check("regdb", exports / "regdb", decode=False)
    assert counts(regdb, "disk", "infrared", 2) == [28, 28, 56, 56]
    assert counts(regdb, "test 10", "visible", 1) == [14, 14, 28, 28]


def test_report_for_notebooks_and_long_reports(copy):
    root = copy("sysu")
    for path in sorted((root / "cam4").rglob("*.jpg"))[:23]:
        path.write_bytes(b"<b>")
    report = check("sysu", root)
    assert str(report).splitlines()[0].count("23 unreadable; 265 images decoded") == 1
    assert "unreadable (23):" in str(report)
    assert "  ... and 3 more" in str(report)
    assert str(report).count("  cam4/") == 20
    page = report._repr_html_()
    assert page.count("<li>cam4/") == 20
    assert "<b>Drawn people, NOT SYSU-MM01" in page


# Faults in any layout -----------------------------------------------------------------------------

ONE = {
    "sysu": "cam5/0006/0001.jpg",
    "regdb": "Thermal/6/",
    "llcm": "nir/0006/0006_c05_s000000_f0001_nir.jpg",
    "custom": "drawn people/piéton 0006/",
}


def pick(root, layout):
    """One image of a copy, and its path below the root as a report has it."""
    path = root / ONE[layout]
    path = sorted(path.iterdir())[0] if path.is_dir() else path
    return path, path.relative_to(root).as_posix()


@pytest.mark.parametrize("layout", ONE)
def test_a_missing_image(copy, layout):
    root = copy(layout)
    path, name = pick(root, layout)
    path.unlink()
    report = check(layout, root, decode=False)
    assert_found(report, ("missing", name))
    assert "is missing" in report.problems[0].what
    assert "1 missing" in str(report).splitlines()[0]


@pytest.mark.parametrize("layout", ONE)
def test_files_are_judged_as_loading_judges_them(copy, layout, monkeypatch):
    """High bit depths are fine; not-a-number and decompression bombs are not."""
    root = copy(layout)
    path, name = pick(root, layout)
    thermal = np.linspace(28000, 31000, 128).reshape(16, 8)
    Image.fromarray(thermal.astype(np.uint16)).save(path, format="TIFF")
    assert_found(check(layout, root))
    Image.fromarray(np.where(thermal < 30000, np.nan, 1).astype(np.float32)).save(path, "TIFF")
    (problem,) = check(layout, root).problems
    assert (problem.kind, problem.where) == ("unreadable", name)
    assert problem.what == "it holds NaN or infinite values"
    Image.new("RGB", (40, 40)).save(path, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    assert_found(check(layout, root), ("unreadable", name))


def test_what_is_no_file(copy):
    root = copy("sysu")
    path = root / "cam5/0006/0001.jpg"
    path.unlink()
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(path)  # to read it would wait for ever
    report = check("sysu", root)
    assert_found(report, ("unreadable", "cam5/0006/0001.jpg"))
    assert report.problems[0].what == "it is not a regular file"


def test_names_that_are_not_utf8_are_printed_and_written(copy, tmp_path):
    root = copy("sysu")
    strange = os.fsencode(root) + b"/cam5/0006/n\xe9.jpg"
    try:
        shutil.copy(os.fsencode(root / "cam5/0006/0001.jpg"), strange)
    except (OSError, UnicodeError):
        pytest.skip("this system has no such names")
    open(os.fsencode(root) + b"/cam2/n\xe9.txt", "w").close()
    report = check("sysu", root)
    assert [problem.kind for problem in report.problems] == ["wrong"]
    for text in (str(report), report._repr_html_()):
        (tmp_path / "report.txt").write_text(text, encoding="utf-8")
        assert r"cam5/0006/n\xe9.jpg" in text
        assert r"cam2/n\xe9.txt" in text
    moved = os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9")
    root.rename(moved)
    assert check("sysu", Path(moved), decode=False).verdict.endswith(r"d\xe9)")


@pytest.mark.parametrize("layout", ONE)
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_damaged_image(copy, layout, damage):
    root = copy(layout)
    path, name = pick(root, layout)
    content = {"truncated": path.read_bytes()[:-40], "empty": b"", "text": b"no image" * 9}[damage]
    path.write_bytes(content)
    report = check(layout, root)
    assert_found(report, ("unreadable", name))
    reason = {"truncated": "trunc|broken|incomplete", "empty": "empty", "text": "cannot identify"}
    assert any(word in report.problems[0].what for word in reason[damage].split("|"))
    assert str(root) not in report.problems[0].what
    assert_found(check(layout, root, decode=False), *[("unreadable", name)] * (damage == "empty"))


def test_every_fault_is_collected(copy):
    root = copy("sysu")
    (root / "cam6/0001/0001.jpg").write_bytes(b"")
    (root / "cam6/0002/0001.jpg").unlink()
    (root / "exp/val_id.txt").write_text("4")
    shutil.copy(root / "cam1/0001/0001.jpg", root / "cam1/0001/0003.jpg")
    assert_found(
        check("sysu", root),
        ("unreadable", "cam6/0001/0001.jpg"),
        ("missing", "cam6/0002/0001.jpg"),
        ("wrong", "exp/val_id.txt"),
        ("extra", "cam1/0001/0003.jpg"),
    )


# SYSU-MM01 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["cam4", "cam1/0001", "cam6/0028"])
def test_sysu_missing_folders_are_reported_once(copy, folder):
    root = copy("sysu")
    images = len(list((root / folder).rglob("*.jpg")))
    shutil.rmtree(root / folder)
    report = check("sysu", root, decode=False)
    assert_found(report, ("missing", folder))
    assert f"all of its {images} images are missing" in report.problems[0].what


@pytest.mark.parametrize(
    ("spoil", "problems"),
    [
        (lambda r: (r / "cam6/0002/0001.jpg").unlink(), [("missing", "cam6/0002/0001.jpg")]),
        (lambda r: (r / "cam6/0002/0002.jpg").unlink(), [("missing", "cam6")]),  # the last one
        (lambda r: shutil.rmtree(r / "cam4"), [("missing", "cam4")]),
        (lambda r: shutil.rmtree(r / "cam5/0003"), [("missing", "cam5")]),
        (lambda r: [p.unlink() for p in (r / "cam5/0003").iterdir()], [("missing", "cam5/0003")]),
        (lambda r: shutil.copytree(r / "cam1/0001", r / "cam1/0002"), [("extra", "cam1")]),
        (
            lambda r: [shutil.rmtree(p) for p in r.glob("cam*/0013")],
            [("missing", "exp/test_id.txt")],
        ),  # an identity that no camera has
    ],
)
def test_sysu_without_the_official_draws(copy, spoil, problems):
    root = copy("sysu")
    (root / "exp" / "rand_perm_cam.mat").unlink()
    report = check("sysu", root, decode=False)
    assert report.ok
    assert "github.com/wuancong/SYSU-MM01" in report.notes[0]
    spoil(root)
    assert_found(check("sysu", root, decode=False), *problems)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda r: (r / "exp/train_id.txt").unlink(), ("missing", "exp/train_id.txt")),
        (lambda r: (r / "exp/test_id.txt").write_text("9,x"), ("wrong", "exp/test_id.txt")),
        (lambda r: (r / "exp/train_id.txt").write_text("1,2"), ("wrong", "exp/train_id.txt")),
        (lambda r: (r / "exp/val_id.txt").write_text("4,9"), ("wrong", "exp/test_id.txt")),
        (lambda r: (r / "exp/rand_perm_cam.mat").write_bytes(b"x"),
            ("wrong", "exp/rand_perm_cam.mat")),
        (lambda r: (r / "cam1/0001/0002.jpg").rename(r / "cam1/0001/0003.jpg"), None),
        (lambda r: shutil.copy(r / "cam1/0001/0002.jpg", r / "cam1/0001/n.jpg"),
            ("wrong", "cam1/0001/n.jpg")),
        (lambda r: shutil.copy(r / "cam1/0001/0002.jpg", r / "cam1/0001/2.jpg"),
            ("wrong", "cam1/0001/2.jpg")),
        (lambda r: (r / "cam1/0002").mkdir(), ("extra", "cam1/0002")),
    ],
)  # fmt: skip
def test_sysu_faults(copy, spoil, problem):
    root = copy("sysu")
    spoil(root)
    both = [("missing", "cam1/0001/0002.jpg"), ("extra", "cam1/0001/0003.jpg")]
    assert_found(check("sysu", root, decode=False), *([problem] if problem else both))


def test_sysu_swapped_lists(copy):
    root = copy("sysu")
    train, test = root / "exp/train_id.txt", root / "exp/test_id.txt"
    texts = train.read_text(), test.read_text()
    train.write_text(texts[1])
    test.write_text(texts[0])
    report = check("sysu", root, decode=False)
    assert_found(report, ("wrong", "exp/train_id.txt"), ("wrong", "exp/test_id.txt"))
    assert report.problems[0].what == "lists 20 identities, a complete copy has 6"


def test_linked_folders_are_followed(copy):
    root = copy("sysu")
    for folder in ("cam4", "cam5/0003"):
        elsewhere = root.parent / folder.replace("/", "-")
        (root / folder).rename(elsewhere)
        try:
            (root / folder).symlink_to(elsewhere, target_is_directory=True)
        except OSError:
            pytest.skip("this system does not let us make links")
    assert_found(check("sysu", root, decode=False))


def link(path, target):
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us make links")


def test_links_that_form_loops_end_and_count_nothing_twice(copy, tmp_path):
    root = copy("sysu")
    for cam in CAMERAS:
        for number in range(4):
            link(root / f"cam{cam}" / f"all{number}", root)
        link(root / f"cam{cam}" / "everything", root.anchor)
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    link(one / "other", two)
    link(two / "other", one)
    link(two / "people", root)
    link(two / "itself", two / "itself")
    link(root / "cam1" / "elsewhere", one)
    report = check("sysu", root)
    assert_found(report)
    assert counts(report, ALL, ALL, ALL) == [28, 28, 288, 288]
    assert report.decoded == 288
    assert any("skipped: cam1/all0, cam1/all1" in note for note in report.notes)


def test_a_folder_that_is_linked_to_another_counts_once(copy):
    root = copy("sysu")
    shutil.rmtree(root / "cam1")
    link(root / "cam1", root / "cam2")
    report = check("sysu", root, decode=False)
    assert_found(report, ("missing", "cam1"))
    assert any("listed before, skipped: cam1" in note for note in report.notes)


def test_folders_that_are_named_as_images(copy):
    root = copy("sysu")
    (root / "cam1" / "0001" / "0003.jpg").mkdir()
    assert_found(check("sysu", root), ("wrong", "cam1/0001/0003.jpg"))


def test_sysu_what_is_noted(copy):
    root = copy("sysu")
    shutil.copytree(root / "cam1/0001", root / "cam1/0500")
    (root / "cam1_video_train").mkdir()
    (root / "cam2" / "Thumbs.db").write_bytes(b"x")
    shutil.copy(root / "cam1/0001/0002.jpg", root / "cam3")
    report = check("sysu", root, decode=False)
    assert_found(report)
    text = "\n".join(report.notes)
    for what in ("no list names, skipped: 0500", "cam1_video_train", "cam2/Thumbs.db",
                 "cam3/0002.jpg"):  # fmt: skip
        assert what in text
    assert len(report.notes) == 4


# RegDB --------------------------------------------------------------------------------------------


def swap(root, one, other):
    texts = [(root / "idx" / name).read_bytes() for name in (one, other)]
    (root / "idx" / one).write_bytes(texts[1])
    (root / "idx" / other).write_bytes(texts[0])


def drop_line(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


@pytest.mark.parametrize(
    ("spoil", "problems"),
    [
        (lambda r: shutil.copy(r / "Visible/3/drawn_v_00001_3.bmp", r / "Visible/3/new.bmp"),
            [("extra", "Visible/3/new.bmp")]),
        (lambda r: shutil.rmtree(r / "Thermal"), [("missing", "Thermal")]),
        (lambda r: shutil.rmtree(r / "Thermal/12"), [("missing", "Thermal/12")]),
        (lambda r: (r / "idx/test_thermal_4.txt").unlink(),
            [("missing", "idx/test_thermal_4.txt")]),
        (lambda r: (r / "idx/test_thermal_4.txt").write_text("a b c\n"),
            [("wrong", "idx/test_thermal_4.txt")]),
        (lambda r: drop_line(r / "idx/train_visible_10.txt"),
            [("missing", "idx/train_visible_10.txt")]),
        (lambda r: swap(r, "train_visible_1.txt", "train_thermal_1.txt"),
            [("wrong", "idx/train_visible_1.txt"), ("wrong", "idx/train_thermal_1.txt")]),
        (lambda r: swap(r, "train_visible_1.txt", "test_visible_1.txt"),
            [("wrong", "idx/train_*_1.txt"), ("wrong", "idx/test_*_1.txt")]),
        (lambda r: [shutil.copy(r / f"idx/train_{m}_2.txt", r / f"idx/test_{m}_2.txt")
                    for m in ("visible", "thermal")], [("wrong", "idx/test_*_2.txt")]),
    ],
)  # fmt: skip
def test_regdb_faults(copy, spoil, problems):
    root = copy("regdb")
    spoil(root)
    assert_found(check("regdb", root, decode=False), *problems)


# LLCM ---------------------------------------------------------------------------------------------


def replace_in(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "problems"),
    [
        (lambda r: (r / "test_nir/cam3").rmdir(), []),
        (lambda r: shutil.rmtree(r / "nir"), [("missing", "nir")]),
        (lambda r: shutil.rmtree(r / "vis/0003"), [("missing", "vis/0003")]),
        (lambda r: shutil.rmtree(r / "test_nir"), [("missing", "test_nir")]),
        (lambda r: shutil.rmtree(r / "test_vis/cam5"), [("missing", "test_vis/cam5")]),
        (lambda r: (r / "idx/test_id.txt").unlink(), [("missing", "idx/test_id.txt")]),
        (lambda r: (r / "idx/test_id.txt").write_text("9,10"), [("wrong", "idx/test_id.txt")]),
        (lambda r: replace_in(r / "idx/test_id.txt", "9,10", "1,10"),
            [("wrong", "idx/test_id.txt")]),
        (lambda r: (r / "idx/train_nir.txt").write_text("x"), [("wrong", "idx/train_nir.txt")]),
        (lambda r: replace_in(r / "idx/train_nir.txt", " 1\n", " 2\n"),
            [("wrong", "idx/train_*.txt")]),
        (lambda r: [shutil.rmtree(p) for p in r.glob("test_*/cam*/0013")],
            [("missing", "idx/test_id.txt")]),
        (lambda r: swap(r, "train_vis.txt", "train_nir.txt"),
            [("wrong", "idx/train_vis.txt"), ("wrong", "idx/train_nir.txt")]),
    ],
)  # fmt: skip
def test_llcm_faults(copy, spoil, problems):
    root = copy("llcm")
    spoil(root)
    assert_found(check("llcm", root, decode=False), *problems)


def test_llcm_a_name_without_camera(copy):
    root = copy("llcm")
    old = "vis/0001/0001_c01_s000000_f0001_vis.jpg"
    new = "vis/0001/0001_s000000_f0001_vis.jpg"
    (root / old).rename(root / new)
    replace_in(root / "idx/train_vis.txt", old, new)
    report = check("llcm", root, decode=False)
    assert_found(report, ("wrong", "idx/train_vis.txt"))
    assert new in report.problems[0].what


def test_llcm_a_missing_test_image_is_found_by_count_and_named_in_a_note(copy):
    root = copy("llcm")
    name = "test_vis/cam4/0012/0012_c04_s000000_f0001_vis.jpg"
    (root / name).unlink()
    report = check("llcm", root, decode=False)
    assert_found(report, ("missing", "test_vis/cam4"))
    assert report.problems[0].what == (
        "test, visible, camera 4: 39 images of 20 identities, "
        "a complete copy has 40 images of 20 identities"
    )
    assert name in report.notes[0]


def test_llcm_what_nobody_published_is_not_judged(copy, monkeypatch):
    """Without its marker an export is compared with LLCM: people, the sum, and cameras with any."""
    root = copy("llcm")
    (root / MARKER).unlink()
    report = check("llcm", root, decode=False)
    assert_found(report, ("wrong", "idx/test_id.txt"), ("missing", "."))
    assert report.problems[1].what == (
        "train: 150 images of 8 identities, a complete copy has 713 identities"
    )
    assert "not known" in str(report)
    assert str(report).startswith("LLCM: ")
    monkeypatch.setattr("dakd.data.verify.expected.LLCM_LISTS", {"test": 20})
    monkeypatch.setattr("dakd.data.verify.expected.LLCM", LLCM | {("test", ALL, ALL): (20, None)})
    empty = [f"test_{kind}/cam{cam}" for kind in ("vis", "nir") for cam in (7, 8, 9)]
    assert_found(
        check("llcm", root, decode=False),
        ("missing", "."),
        *[("missing", folder) for folder in empty],
    )


# A table ------------------------------------------------------------------------------------------


def test_custom_faults(copy):
    table = copy("custom") / "people.csv"
    text = table.read_text("utf-8")
    lines = text.splitlines()
    table.write_text("\n".join([*lines, lines[1]]), "utf-8")
    assert_found(verify("custom", table, show=False), ("wrong", lines[1].split(",")[0]))
    table.write_text(text.replace("visible", "vis", 1), "utf-8")
    assert_found(verify("custom", table, show=False), ("wrong", "people.csv"))
    table.write_text("\n".join([*lines, "gone.png,1,1,visible,test"]), "utf-8")
    assert_found(
        verify("custom", table, show=False), ("missing", "gone.png"), ("wrong", "people.csv")
    )


# One image several times, and what a copy is good for ---------------------------------------------


def table_of(folder, *rows):
    """A table with an image for each row of path, pid, cam, modality and split; a path names its
    colour, and images of one colour are the same."""
    lines = ["path,pid,cam,modality,split"]
    for path, *labels in rows:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8), Path(path).stem).save(folder / path)
        lines.append(",".join([path, *map(str, labels)]))
    (folder / "people.csv").write_text("\n".join([*lines, ""]), "utf-8")
    return folder


TRAIN = [("a/red.png", 1, 1, "visible", "train"), ("a/blue.png", 1, 2, "infrared", "train")]
TEST = [("a/green.png", 2, 1, "visible", "test"), ("a/gray.png", 2, 2, "infrared", "test")]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (("b/red.png", 2, 1, "visible", "test"), "of the splits train and test"),
        (("b/red.png", 1, 1, "infrared", "train"), "of the modalities visible and infrared"),
        (("b/red.png", 3, 1, "visible", "train"), "of the identities 1 and 3"),
        (("b/red.png", 1, 2, "visible", "train"), ""),
    ],
)
def test_the_same_image_twice(tmp_path, row, what):
    root = table_of(tmp_path, *TRAIN, *TEST, row)
    report = check("custom", root)
    if what:
        assert_found(report, ("wrong", "a/red.png"))
        assert f"is the same image as b/red.png, but {what}" in report.problems[0].what
    else:
        assert_found(report)
        assert "a/red.png = b/red.png" in report.notes[0]
    assert check("custom", root, decode=False).ok


def test_the_same_image_in_both_lists_of_a_layout(copy):
    root = copy("sysu")
    shutil.copy(root / "cam1/0001/0001.jpg", root / "cam4/0020/0002.jpg")
    report = check("sysu", root)
    assert_found(report, ("wrong", "cam1/0001/0001.jpg"))
    assert "same image as cam4/0020/0002.jpg" in str(report)


@pytest.mark.parametrize(
    ("rows", "train", "evaluate"),
    [
        ([*TRAIN, *TEST], "", ""),
        (TEST, "there is no training image", ""),
        (TRAIN, "", "there is no test image"),
        ([*TRAIN[:1], *TEST], "no infrared training image", ""),
        ([TRAIN[0], ("c.png", 3, 2, "infrared", "train"), *TEST],
            "no training identity has both", ""),
        ([*TRAIN, TEST[0], ("c.png", 3, 2, "infrared", "test")], "",
            "no identity of the infrared test images is in the visible ones"),
    ],
)  # fmt: skip
def test_what_a_table_is_good_for(tmp_path, rows, train, evaluate):
    rows = [("pink.png" if row[0] == "c.png" else row[0], *row[1:]) for row in rows]
    root = table_of(tmp_path, *rows)
    for decode in (True, False):
        report = check("custom", root, decode=decode)
        faults = {one.command: one.fault for one in report.ready}
        assert faults.keys() == {"train", "evaluate"}
        for fault, words in ((faults["train"], train), (faults["evaluate"], evaluate)):
            assert words in fault
            assert bool(words) is bool(fault)
        assert report.ok is not bool(train or evaluate)
        assert ("complete" in report.verdict) is report.ok
        assert ("train: not possible" in str(report)) is bool(train)
        assert ("evaluate: not possible" in report._repr_html_()) is bool(evaluate)
    if report.ok:
        assert "a batch can have 1 identities at most" in str(report)


@pytest.mark.parametrize(
    ("layout", "spoil", "train", "evaluate"),
    [
        ("sysu", lambda r: [shutil.rmtree(r / f"cam{c}") for c in (3, 6)],
            "loading fails", "loading fails"),
        ("sysu", lambda r: [shutil.rmtree(p) for p in r.glob("cam[36]/*")],
            "no infrared training image", "no infrared test image"),
        ("sysu", lambda r: [shutil.rmtree(p) for p in r.glob("cam[12]/*")],
            "", "the gallery of indoor-search"),
        ("sysu", lambda r: [shutil.rmtree(p) for p in r.glob("cam[16]/*")],
            "", "the gallery of indoor-search"),  # camera 3 does not look for camera 2
        ("llcm", lambda r: [p.unlink() for p in (r / "test_vis").rglob("*.jpg")],
            "", "no visible test image"),
        ("llcm", lambda r: [p.unlink() for p in [*r.glob("test_vis/cam[1-5]/**/*.jpg"),
                                                 *r.glob("test_nir/cam[1-5]/**/*.jpg")]],
            "", "no identity of the infrared"),  # camera 6 alone is left, where both are its own
        ("regdb", lambda r: (r / "idx/train_visible_7.txt").unlink(),
            "train_visible_7.txt", "train_visible_7.txt"),
        ("regdb", lambda r: sorted(r.glob("Visible/3/*.bmp"))[0].write_bytes(b"x"),
            "of its images cannot be read (trial ", "of its images cannot be read (trial "),
    ],
)  # fmt: skip
def test_what_a_layout_is_good_for(copy, layout, spoil, train, evaluate):
    root = copy(layout)
    assert str(check(layout, root)).splitlines()[1:3] == ["train: possible", "evaluate: possible"]
    spoil(root)
    report = check(layout, root)
    assert not report.ok
    faults = [one.fault for one in report.ready]
    for fault, words in zip(faults, (train, evaluate), strict=True):
        assert words in fault
        assert bool(words) is bool(fault)


def test_what_only_loading_refuses_is_a_problem(copy, monkeypatch):
    def refuse(name, root, **how):
        raise ValueError("no such people")

    monkeypatch.setattr("dakd.data.verify.readiness.load_dataset", refuse)
    report = check("sysu", copy("sysu"), decode=False)
    assert_found(report, ("missing", "."))
    assert report.problems[0].what == "train and evaluate must fail: loading fails: no such people"


# The entry and the marker -------------------------------------------------------------------------


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="dataset 'market' cannot be verified; use one of sysu"):
        verify("market", tmp_path)
    with pytest.raises(NotADirectoryError, match="nowhere is not a folder"):
        verify("sysu", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="root must be the table"):
        verify("custom", tmp_path)


@pytest.mark.parametrize("layout", ["sysu", "regdb", "llcm"])
def test_an_empty_folder_is_all_missing(tmp_path, layout):
    report = check(layout, tmp_path)
    assert not report.ok
    assert {problem.kind for problem in report.problems} == {"missing"}


@pytest.mark.parametrize(
    ("content", "what"),
    [("{", "does not say what was drawn"), ('{"layout": "sysu"}', "'config'"),
     (json.dumps({"layout": "llcm", "config": {}}), "an export in the layout 'llcm'")],
)  # fmt: skip
def test_markers_of_no_use(copy, content, what):
    root = copy("sysu")
    (root / MARKER).write_text(content)
    report = check("sysu", root, decode=False)
    assert_found(report, ("wrong", MARKER))
    assert what in report.problems[0].what
    assert str(report).startswith("Drawn people")


def test_few_images_are_in_memory_at_a_time(exports, monkeypatch):
    """Threads decode, hold one image each, and are handed a bounded number of files."""
    lock, open_image = threading.Lock(), Image.open
    alive, most, batches = [], [], []

    class Counted:
        def __init__(self, path):
            self.image = open_image(path)

        def __enter__(self):
            with lock:
                alive.append(self)
                most.append(len(alive))
            return self.image

        def __exit__(self, *error):
            self.image.close()
            with lock:
                alive.remove(self)

    class Pool(module.ThreadPoolExecutor):
        def map(self, function, paths, **kwargs):
            batches.append(len(paths))
            return super().map(function, paths, **kwargs)

    monkeypatch.setattr(Image, "open", Counted)
    monkeypatch.setattr(module, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(module, "_BATCH", 50)
    assert check("sysu", exports / "sysu").decoded == 288
    assert len(most) == 288
    assert max(most) <= 8
    assert batches == [50, 50, 50, 50, 50, 38]


# The known counts ---------------------------------------------------------------------------------


def test_sums_of_the_known_counts():
    for split, visible, infrared in (("train", 22258, 11909), ("test", 6775, 3803)):
        for modality, total in (("visible", visible), ("infrared", infrared)):
            cams = [cam for cam, kind in CAMERAS.items() if kind == modality]
            assert sum(SYSU[split, modality, cam][1] for cam in cams) == total
            assert SYSU[split, modality, ALL] == ({"train": 395, "test": 96}[split], total)
    assert len(SYSU) == 16
    assert SYSU_LISTS["train"] + SYSU_LISTS["val"] == 395
    assert LLCM["train", ALL, ALL][0] + LLCM["test", ALL, ALL][0] == LLCM[ALL, ALL, ALL][0] == 1064


def test_identity_lists_of_an_export(tmp_path):
    """Of seven training identities only number 4 is for validation."""
    marker = {"layout": "sysu", "config": {"train_ids": 7, "test_ids": 20}}
    (tmp_path / MARKER).write_text(json.dumps(marker))
    assert expected_counts("sysu", tmp_path).lists == {"train": 6, "val": 1, "test": 20}


def test_known_counts_of_regdb(tmp_path):
    counts = expected_counts("regdb", tmp_path).counts
    assert len(counts) == 43  # what both folders hold, their sum, and forty lists
    assert counts["disk", ALL, ALL] == (412, 8240)
    assert counts["disk", "visible", 1] == (412, 4120)
    assert {counts[key] for key in counts if key[0] != "disk"} == {(206, 2060)}


@with_lists
def test_known_counts_of_sysu_by_the_official_lists():
    draws = read_permutations(LISTS / "rand_perm_cam.mat")
    ids = {
        part: {int(pid) for pid in scipy.io.loadmat(LISTS / f"{part}_id.mat")["id"].ravel()}
        for part in ("train", "test")
    }
    seen = {kind: {pid for cam, pid in draws if CAMERAS[cam] == kind} for kind in CAMERAS.values()}
    val = (seen["visible"] & seen["infrared"]) - ids["train"] - ids["test"]
    assert {"train": len(ids["train"]), "val": len(val), "test": len(ids["test"])} == SYSU_LISTS
    ids["train"] |= val
    counted = tally(
        (split, CAMERAS[cam], cam, pid)
        for split in ids
        for (cam, pid), draw in draws.items()
        if pid in ids[split]
        for _ in range(draw.shape[1])
    )
    assert {key: counted[key] for key in SYSU} == SYSU
    assert np.all([draw.shape[0] == 10 for draw in draws.values()])


def test_an_odd_number_of_people_is_split_as_the_export_does(tmp_path):
    config = SyntheticConfig(train_ids=5, test_ids=20, images_per_camera=1)
    root = export_dataset("regdb", config, tmp_path / "r", height=16, width=8, **QUIET)
    report = check("regdb", root, decode=False)
    assert report.ok, str(report)
    assert counts(report, "train 1", "visible", 1)[0] == 13


def test_a_table_with_an_absolute_path_that_is_not_there(tmp_path):
    Image.new("RGB", (4, 8)).save(tmp_path / "a.png")
    table = tmp_path / "people.csv"
    lines = [
        "path,pid,cam,modality,split",
        "a.png,1,1,visible,train",
        "/not/there.png,2,1,visible,test",
    ]
    table.write_text("\n".join([*lines, "a.png,3,1,infrared,test", ""]))
    missing = [p for p in check("custom", tmp_path, decode=False).problems if p.kind == "missing"]
    assert len(missing) == 1
    assert "not" in missing[0].where


def test_a_name_that_no_system_takes_is_missing(tmp_path):
    root = table_of(tmp_path, *TRAIN, *TEST)
    name = f"a/{'x' * 300}.png"
    with (root / "people.csv").open("a", encoding="utf-8") as table:
        table.write(f"{name},2,1,visible,test\n")
    report = check("custom", root)
    assert ("missing", name) in found(report)
    assert {problem.kind for problem in report.problems} == {"missing"}


def test_infrared_images_of_llcms_camera_3_are_passed_over(copy):
    root = copy("llcm")
    before = len(load_dataset("llcm", root, height=16, width=8).test)
    pid = (root / "idx" / "test_id.txt").read_text().split(",")[0]
    folder = root / "test_nir" / "cam3" / f"{int(pid):04d}"
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 8)).save(folder / "x.jpg")
    report = check("llcm", root, decode=False)
    assert report.ok, str(report)
    assert any("cam3" in note for note in report.notes)
    assert len(load_dataset("llcm", root, height=16, width=8).test) == before


def test_counts_that_a_wrong_list_hides_are_said_to_be_open(copy):
    root = copy("sysu")
    ids = root / "exp" / "val_id.txt"
    ids.write_text(ids.read_text().rpartition(",")[0] or "1")
    notes = " ".join(check("sysu", root, decode=False).notes)
    assert "are not compared until the problems of its lists are corrected" in notes
