import subprocess
import sys

import pytest
import torch

from dakd.runtime import (
    atomic_path,
    autocast,
    evaluating,
    make_generator,
    pick_device,
    progress,
    source_fingerprint,
)


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("good")
    with pytest.raises(TypeError, match="data must be str"), atomic_path(path) as temporary:
        temporary.write_text("half") and temporary.write_text(None)
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_a_successful_write_replaces_the_file_and_creates_its_folder(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"


def test_a_missing_device_is_named_in_the_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="'cuda' is not available: torch sees no GPU"):
        pick_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "0", "", "mps", "meta", "xpu", "vulkan", "cpu:x", "cpu,"])
def test_an_unusable_device_is_named_with_alternatives(name):
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ValueError, match=rf"device '{name}' cannot be used here .*; use 'auto'"):
        pick_device(name)


def test_a_gpu_index_out_of_range_is_named_with_the_largest_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1").index == 1
    with pytest.raises(
        ValueError, match="'cuda:99' is not available: .* 2 GPUs.*'cuda:1' or lower"
    ):
        pick_device("cuda:99")


def test_configurations_are_imported_without_torch():
    code = "import dakd.config, sys; print(*{'torch', 'pandas', 'numpy', 'tqdm'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "\n"


def test_an_unknown_precision_is_named_in_the_error():
    with pytest.raises(ValueError, match="precision 'half' is unknown"):
        autocast(torch.device("cpu"), "half")


def test_evaluating_restores_the_mode_even_after_an_error():
    model = torch.nn.Dropout().train()
    with evaluating(model):
        assert not model.training
    assert model.training
    with pytest.raises(TypeError), evaluating(model):
        model("no tensor")
    assert model.training


def test_generators_do_not_touch_the_global_state():
    before = torch.get_rng_state()
    one, two = make_generator(5), make_generator(5)
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=two))
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_can_be_disabled(capsys):
    assert list(progress(range(3), show=False)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_the_source_fingerprint_changes_with_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr("dakd.runtime.__file__", str(tmp_path / "runtime.py"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "draw.py").write_text("one")
    before = source_fingerprint("data")
    assert source_fingerprint("data") == before
    (tmp_path / "data" / "draw.py").write_text("two")
    assert source_fingerprint("data") != before
    with pytest.raises(FileNotFoundError, match="gone"):
        source_fingerprint("gone.py")


BEFORE = '''"""What it is."""
import torch


def half(x: float) -> float:
    """Return a half."""
    return x / 2  # not a quarter
'''


def test_moving_a_definition_does_not_change_the_source_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setattr("dakd.runtime.__file__", str(tmp_path / "runtime.py"))
    one, other = "def one():\n    return 1\n", "def other():\n    return 2\n"
    found = set()
    for a, b in [(one, other), (other, one), (one + other, ""), ("", other + one)]:
        (tmp_path / "a.py").write_text(a)
        (tmp_path / "b.py").write_text(b)
        found.add(source_fingerprint("a.py", "b.py"))
    assert len(found) == 1
    (tmp_path / "b.py").write_text(one)
    assert source_fingerprint("a.py", "b.py") not in found


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("What it is.", "What this is, in other words.", True),
        ("import torch\n", "from torch import nn\nimport torch as t\n", True),
        ('    """Return a half."""\n', "", True),
        ("  # not a quarter", "", True),
        ("x / 2", "(x /\n            2)", True),
        ("x / 2", "x / 4", False),
        ("x / 2", "x // 2", False),
        ("def half", "def halved", False),
        ("return x / 2", "x = 'a' or None\n    return x / 2", False),
    ],
)
def test_the_source_fingerprint_depends_on_the_syntax_tree_only(
    old, new, same, tmp_path, monkeypatch
):
    monkeypatch.setattr("dakd.runtime.__file__", str(tmp_path / "runtime.py"))
    file = tmp_path / "code.py"
    file.write_text(BEFORE)
    before = source_fingerprint("code.py")
    assert old in BEFORE
    file.write_text(BEFORE.replace(old, new))
    assert (source_fingerprint("code.py") == before) is same
