"""What several test files share."""

import pytest


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """The folder of the documentation's pages, built once (a minute of one core)."""
    from documentation import build_docs

    return build_docs(tmp_path_factory.mktemp("docs"))
