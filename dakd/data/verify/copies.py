"""Images that a copy of a dataset holds more than once."""

from collections import defaultdict

from dakd.data.duplicates import same_files
from dakd.data.lists import some
from dakd.data.verify.survey import Item, Survey


def report_copies(survey: Survey) -> None:
    """Report images of the same content whose labels contradict each other; note the others.

    Files that cannot be read are left out: they are a problem already.
    """
    damaged = {problem.where for problem in survey.problems if problem.kind == "unreadable"}
    items: dict[str, list[Item]] = defaultdict(list)
    for item in survey.found:
        if item.path and item.path not in damaged:
            items[item.path].append(item)
    paths = sorted(items)
    agreeing = []
    for group in same_files([survey.root / path for path in paths]):
        first, *others = (paths[row] for row in group)
        if contradiction := _contradiction([item for row in group for item in items[paths[row]]]):
            what = f"is the same image as {some(others, 2)}, but {contradiction}; remove wrong ones"
            survey.fault("wrong", first, what)
        else:
            agreeing.append(f"{first} = {some(others, 2)}")
    survey.note(agreeing, "images are there more than once, and each copy counts")


def _contradiction(shown: list[Item]) -> str:
    """Return in what labels of one image differ that cannot differ, the worst first.

    >>> _contradiction([Item("train", "visible", 1, 9, "a.png"), Item("test", "visible", 1, 12)])
    'of the splits train and test'
    """
    for column, what in (("split", "splits"), ("modality", "modalities"), ("pid", "identities")):
        labels = {str(getattr(item, column)) for item in shown}
        if len(labels) > 1:
            order = sorted(labels, key=lambda label: (label == "test", len(label), label))
            return f"of the {what} {' and '.join(order)}"
    return ""
