"""Whether a copy of a dataset is complete, readable, and fit to train and evaluate on.

Results on a copy that silently lacks images cannot be reproduced. Images are decoded one by one
and never kept in memory.
"""

import os
from pathlib import Path

from dakd.data.records import MARKER
from dakd.data.verify.compare import compare_folder, compare_table
from dakd.data.verify.expected import NAMES, Expected, expected_counts, tally
from dakd.data.verify.files import check_files, report_repeated
from dakd.data.verify.layouts import LAYOUTS
from dakd.data.verify.readiness import Readiness, check_readiness
from dakd.data.verify.report import Report, table_of
from dakd.data.verify.survey import Problem, Survey

__all__ = ["Problem", "Readiness", "Report", "verify"]


def verify(
    name: str, root: str | os.PathLike[str], *, decode: bool = True, show: bool = True
) -> Report:
    """Compare a copy of a dataset with the known counts, and find its damaged images.

    All problems are collected; none ends the search. Images are decoded as loading decodes them.
    An image that is there more than once is a problem where its labels contradict each other
    (training and test, visible and infrared, two identities), and a note otherwise. A copy on which
    training or evaluation must fail, because a split or a modality has no images, is not complete.

    What `dakd.data.export.export_dataset` wrote is compared with its configuration, and the report
    says that its people are drawn.

    Args:
        name: ``"sysu"``, ``"regdb"``, ``"llcm"`` or ``"custom"``.
        root: the dataset's folder; for ``"custom"`` the table, which is compared with the files.
        decode: decode every image in full, and search for repeated images; otherwise only empty
            files are found.
        show: show a progress bar.

    Raises:
        ValueError: the name is unknown.
        NotADirectoryError: `root` is not a folder.
        FileNotFoundError: the table of ``"custom"`` does not exist.
    """
    if name not in NAMES:
        raise ValueError(f"dataset {name!r} cannot be verified; use one of {', '.join(NAMES)}")
    root = Path(os.path.expanduser(root))
    if name == "custom" and not root.is_file():
        raise FileNotFoundError(f"no file {root}; root must be the table of the dataset")
    if name != "custom" and not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder; root must be the dataset's folder")
    survey = Survey(root.parent if name == "custom" else root)
    known = survey.attempt(lambda: expected_counts(name, survey.root), MARKER)
    known = known or Expected(f"Drawn people, NOT {NAMES[name]}")  # and nothing is known of them
    if name == "custom":
        known.counts.update(compare_table(survey, root))
    else:
        compare_folder(survey, LAYOUTS[name], known)
    decoded = check_files(survey, decode, show)
    if decode:
        report_repeated(survey)
    ready = check_readiness(name, root, survey.unreadable)
    if not survey.problems:
        for fault in {one.fault: one for one in ready if one.fault}.values():
            commands = " and ".join(one.command for one in ready if one.fault == fault.fault)
            survey.add("missing", fault.where, f"{commands} must fail: {fault.fault}")
    counts = table_of(tally(survey.found), known.counts)
    problems, notes = tuple(survey.problems), tuple(survey.notes)
    return Report(name, root, known.title, counts, problems, notes, decoded, tuple(ready))
