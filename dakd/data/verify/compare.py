"""Compares the records that a copy of a dataset must have with those that it has."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path, PurePosixPath

from dakd.data.custom import check_splits, read_table
from dakd.data.lists import disagreements, read_index, some
from dakd.data.verify.expected import ALL, DISK, Count, Expected, Key, tally
from dakd.data.verify.layouts import Layout, Part
from dakd.data.verify.survey import Entry, Kind, Survey, below, folders_of, topmost

Identities = list[tuple[Part, set[int]]]


def compare_folder(survey: Survey, layout: Layout, known: Expected) -> None:
    """Fill `survey` with what a folder holds, and report how it differs from lists and counts."""
    survey.walk({folder.partition("/")[0] for folder in layout.folders})
    identities: Identities = []
    exact = False
    for division in layout.divisions:
        before = len(survey.problems)
        identities += _read_division(survey, layout, division, known)
        exact |= len(survey.problems) == before
    splits = {pid: part.split for part, ids in identities if part.read for pid in ids}
    _match(survey, layout, splits, exact)
    numbers = layout.compare_numbers
    survey.report_files(numbers(survey, splits) if numbers else "the lists in idx")
    for hint in layout.hints:
        if (survey.root / hint).is_file():
            named = {path for path, _ in _read_lines(survey, hint) if path.startswith("test_")}
            survey.note(named - survey.images, f"images that {hint} names are missing")
    _compare_counts(survey, layout, known, identities)


def compare_table(survey: Survey, table: Path) -> dict[Key, tuple[int, int]]:
    """Fill `survey` with the files of a ``"custom"`` table; return the table's own counts."""
    rows = survey.attempt(lambda: read_table(table), table.name)
    if rows is None:
        return {}
    survey.attempt(lambda: check_splits(table, rows), table.name)
    paths = [below(file, survey.root) for file in rows["file"]]
    columns = (rows[c] for c in ("split", "modality", "cam", "pid"))
    entries = [Entry(*row) for row in zip(*columns, paths, strict=True)]
    for entry in entries:
        exists = os.path.isfile(survey.root / str(entry.path))  # False for an impossible name
        (survey.found if exists else survey.missing).append(entry)
    survey.images.update(str(entry.path) for entry in survey.found)
    for path, number in Counter(entry.path for entry in entries).items():
        if number > 1:
            survey.add("wrong", str(path), f"is in {number} rows of the table")
    survey.report_files(table.name)
    return tally(entries)


def _read_division(
    survey: Survey, layout: Layout, parts: Sequence[Part], known: Expected
) -> Identities:
    """Read the lists of a division; report wrong counts and what the parts have in common."""
    found: Identities = []
    for part in parts:
        key: Key = (part.split, ALL, ALL)
        if part.read:
            ids = survey.attempt(partial(part.read, survey.root), part.name, key) or set()
        else:
            ids = _read_images(survey, layout, part)
        number = known.lists.get(PurePosixPath(part.name).stem.removesuffix("_id"), len(ids))
        if ids and len(ids) != number:
            what = f"lists {len(ids)} identities, a complete copy has {number}"
            survey.add("wrong", part.name, what, key)
        found.append((part, ids))
    for (part, ids), (other, others) in combinations(found, 2):
        if shared := sorted(ids & others):
            keys: list[Key] = [(p.split, ALL, ALL) for p in (part, other)]
            what = f"has identities of {part.name}: {some(shared)}"
            survey.add("wrong", other.name, what, *keys)
    return found


def _read_images(survey: Survey, layout: Layout, part: Part) -> set[int]:
    """Add the images that a part's lists name to `Survey.listed`; return their identities."""
    pairs: list[tuple[str, int, int]] = []  # folder, label and identity
    for name, folder in part.images.items():
        _, modality, camera = layout.folders[folder]
        lines, wrong = _read_lines(survey, name, (part.split, modality, ALL)), []
        for path, label in lines:
            entry = layout.record(path) if path.startswith(f"{folder}/") else None
            survey.listed[path] = entry
            if entry is None:
                wrong.append(path)
                continue
            if entry.split == DISK:  # each list counts for itself
                survey.found.append(Entry(part.split, modality, entry.camera, label))
            pairs.append((PurePosixPath(path).parent.name, label, entry.pid))
        if wrong:
            form = f"{folder}/<identity>/<image>" + " with _c<camera>_" * (camera == ALL)
            what = f"names {len(wrong):,} files that are not {form}: {some(wrong, 2)}"
            survey.add("wrong", name, what, (part.split, modality, ALL))
    if contradictions := disagreements(pair[:2] for pair in pairs):
        what = f"{some(contradictions, 2)}, but each identity has one folder and one label"
        survey.add("wrong", part.name, what)
        return set()
    return {pid for *_, pid in pairs}


def _read_lines(survey: Survey, name: str, *explained: Key) -> list[tuple[str, int]]:
    """Return the paths and labels of a list; none where it cannot be read."""
    lines = survey.attempt(lambda: read_index(survey.root / name, survey.root), name, *explained)
    return [(below(path, survey.root), label) for path, label in lines or ()]


def _match(survey: Survey, layout: Layout, splits: dict[int, str], exact: bool) -> None:
    """Divide images into found, missing and extra ones; note those that are skipped.

    Args:
        survey: holds the images, and those that lists name.
        layout: its folders.
        splits: the split of each identity that a list names.
        exact: whether the lists can show that an image is extra.
    """
    by_list = {part.split for division in layout.divisions for part in division if part.images}
    misplaced, unlisted, unknown = [], [], set()
    for path in sorted(survey.images | survey.listed.keys()):
        is_listed = path in survey.listed
        entry = survey.listed[path] if is_listed else layout.record(path)
        if is_listed or layout.whole:
            target = survey.found if path in survey.images else survey.missing
            target += [entry] if entry else []
            survey.extra |= {path} if exact and not is_listed else set()
        elif not entry:
            misplaced.append(path)
        elif entry.split in by_list:
            unlisted.append(path)
        elif entry.pid not in splits or entry.split not in (ALL, splits[entry.pid]):
            unknown.add(f"{entry.pid:04d}")
        else:
            survey.found.append(entry._replace(split=splits[entry.pid]))
    survey.note(misplaced, "images whose path does not fit the layout, skipped")
    survey.note(unlisted, "images that no list names, skipped")
    survey.note(unknown, "identities with images that no list names, skipped")


def _compare_counts(
    survey: Survey, layout: Layout, known: Expected, identities: Identities
) -> None:
    """Report counts that differ from the known ones for a reason not reported yet."""
    entries = [*survey.found, *survey.missing]
    found = tally(survey.found)
    corrected = tally(e for e in entries if e.path not in survey.extra)  # as if all were put right
    occupied = folders_of(str(entry.path) for entry in entries if entry.path)
    empty: dict[str, list[Key]] = defaultdict(list)
    for key in known.counts:
        if key not in corrected and key[2] != ALL and not survey.is_explained(key):
            empty[topmost(layout.location(key), occupied)].append(key)
    for where, keys in empty.items():
        if len(keys) > 1:  # a single count is reported with its numbers
            survey.add("missing", where, "holds no image of a listed identity", *keys)
    for part, ids in identities if not empty else ():
        if part.read and (unseen := sorted(ids - {entry.pid for entry in entries})):
            what = f"no folder holds an image of the identities {some(unseen)}"
            survey.add("missing", part.name, what, (part.split, ALL, ALL))
    for split in sorted({key[0] for key in survey.explained if key[1:] == (ALL, ALL)}):
        survey.notes.append(
            f"counts of {split} are not compared until the problems of its lists are corrected"
        )
    for key in sorted(known.counts, key=lambda key: key.count(ALL)):  # sums come last
        want, have = known.counts[key], found.get(key, (0, 0))
        if not survey.is_explained(key) and (kind := _kind(corrected.get(key, (0, 0)), want)):
            labels = (*key[:2], key[2] if key[2] == ALL else f"camera {key[2]}")
            what = f"{', '.join(x for x in labels if x != ALL) or ALL}: {_number(have)}"
            what += f", a complete copy has {_number(want)}" if want != (None, None) else ""
            survey.add(kind, layout.location(key), what, key)


def _kind(have: Count, want: Count) -> Kind | None:
    """Return what a count shows; where nothing is known, only zero images are a problem."""
    if want == (None, None):
        return None if have[1] else "missing"
    pairs = zip(have, want, strict=True)
    more = {h > w for h, w in pairs if h is not None and w is not None and h != w}
    return "wrong" if len(more) > 1 else "extra" if True in more else "missing" if more else None


def _number(count: Count) -> str:
    identities = f"{count[0]:,} identities"
    return identities if count[1] is None else f"{count[1]:,} images of {identities}"
