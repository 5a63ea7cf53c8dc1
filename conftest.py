"""Every test and every notebook that pytest runs is of smoke size, in a throw-away run folder."""

import os
import tempfile

_RUNS = tempfile.TemporaryDirectory(prefix="dakd-runs-")  # removed when the session's process ends
os.environ["DAKD_PROFILE"] = "smoke"
os.environ["DAKD_RUNS"] = _RUNS.name

# Only in this process: notebook kernels inherit the environment and need their inline backend.
import matplotlib  # noqa: E402

matplotlib.use("Agg")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture
def generator() -> torch.Generator:
    """A private torch generator, the same in every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A private NumPy generator, the same in every test."""
    return np.random.default_rng(0)
