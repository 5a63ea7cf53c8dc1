"""Print the lowest version of every package that pyproject.toml allows, one requirement a line."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]:
    print(requirement.replace(">=", "=="))
