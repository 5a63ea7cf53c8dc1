"""A few of the damaged inputs of `python -m tests.fuzz`, which makes 200."""

import pytest
from fuzz.trials import Trials


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    return Trials(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("number", range(12))
def test_a_damaged_input_is_named_or_harmless(trials, number):
    assert trials.run(number)
