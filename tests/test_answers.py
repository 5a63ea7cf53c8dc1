"""The exercises inside their notebooks: a right and a wrong answer on each notebook's own data.

Every answer is code as a reader would write it below the notebook's cells, mostly as its hint says.
"""

import ast
from unittest.mock import MagicMock

import pytest
from test_notebooks import COURSE, FOLDER, check_of, code_of, exercises_of

from dakd import analysis
from dakd.studies import evidence

BY_CAMERA = """
sides = [a[rows] for a in (test.pids, test.cams) for rows in (trial.query, trial.gallery)]
similar = pixels[trial.query] @ pixels[trial.gallery].T
result = rank_metrics(similar, *sides, protocol="{}")
camera_3, camera_6 = result.per_query.groupby(test.cams[trial.query])["AP"].mean()
"""
MENDED = """
image = images[:1]{}
exchanged = image{}
exchanged[:] = exchanged[:, :1].clone()
rectangle = exchanged[..., :10, :5].clone()
image[..., :10, :5] = rectangle
fixed_image = image
"""
CHANNELS = """
kept = []
for i in range(3):
    one = drawn._replace(channel=torch.full_like(drawn.channel, i))
    grey = cutswap.apply(visible, one).mean(1).diff(dim=-1)[inner]
    kept.append(np.corrcoef(grey, edges["image"])[0, 1])
channel = ["red", "green", "blue"][int(np.{}(kept))]
"""
COPIED = """
copied = copy.deepcopy(frozen).train()
learning = ByModality(*copied(torch.cat([v, r]), streams=2, unit=False).chunk(2))
in_eval, in_train = 0, DAKDLoss()(learning, z_teacher, centres).total.item()
"""
LEVEL = """
from dakd.analysis import paired_differences
low, high = paired_differences(levels, baseline="no_class", metric="mAP").loc[
    "no_instance", ["t_low", "t_high"]
]
level = "class" if low > 0 else "instance" if high < 0 else "neither"
"""
TEMPERATURE = """
errors = {}
for tried in 0.05 * 2 ** np.linspace(-4, 4, 41):
    p = analysis.predict(**data, temperature=tried)
    errors[analysis.reliability(p.confidence, p.correct).ece] = tried
temperature = errors[min(errors)]
"""
CAMERAS = """
distances = {}
for pair in product((1, 2, 4, 5), (3, 6)):
    rows = np.isin(test.cams, pair)
    distances[analysis.centroid_distance(z["DAKD"][rows], dark[rows])] = pair
pair = distances[min(distances)]
"""
UNIFORM = """
import torch
uniformity = {name: torch.pdist(x).square().mul(-2).exp().mean().log() for name, x in z.items()}
aligned, uniform = gap["across"].idxmax(), min(uniformity, key=uniformity.get)
"""
APART = """
rows = paired_differences(table, baseline="dakd", metric="mAP").reindex(release).dropna()
different = [LABELS[run] for run in rows.index[(rows["t_low"] > 0) | (rows["t_high"] < 0)]]
"""
SEEDS = """
seeds = 2
while t.ppf(0.975, seeds - 1) * d.std(ddof=1) / seeds**0.5 > 0.01:
    seeds += 1
"""
RULE = """
free = rank_metrics(similarity, *people, protocol=None, cmc_unit="identity")
points = 100 * (free.cmc[1] - first.cmc[1])
"""

ANSWERS = {  # of every check: a right answer, then a wrong one
    "batch_counts": (
        "images, same_person = 2 * len(visible), len(visible) * batch['images']",
        "images, same_person = 2 * len(visible), len(visible)",
    ),
    "seen_by_both": ("people = (seen[2] & seen[3]).sum()", "people = seen[2].sum()"),
    "correlations": (
        "lamp, negative = [grey[False].corr(x) for x in (grey[True] + 0.1, 1 - grey[True])]",
        "lamp, negative = [grey[False].corr(x) for x in (grey[True], grey[True])]",
    ),
    "same_ap": (
        "first_ranking, second_ranking = [1, 3, 9], [1, 4, 6]",
        "first_ranking, second_ranking = [1, 3, 9], [1, 3, 10]",
    ),
    "map_by_camera": (BY_CAMERA.format("sysu"), BY_CAMERA.format("none")),
    "trials_needed": (
        "count = np.ceil((spread['one trial'] / 0.25) ** 2)",
        "count = np.ceil(spread['one trial'] / 0.25)",
    ),
    "same_area": ("side = (0.5 * 0.45**2) ** 0.5", "side = 0.45"),
    "fixed_cutswap": (MENDED.format(".clone()", ".clone()"), MENDED.format("", "")),
    "best_channel": (CHANNELS.format("argmax"), CHANNELS.format("argmin")),
    "uniform_prediction_loss": (
        "total = 3.4 * math.log(train.num_classes) + 0.3",
        "total = math.log(train.num_classes)",
    ),
    "copied_teacher": (COPIED, "in_eval, in_train = 0, 0"),
    "better_level": (LEVEL, "level = 'class' if level != 'class' else 'instance'"),
    "safe_quantile": (
        "quantile = 1 - max(curve.coverage[curve.risk <= 0.01], default=0)",
        "quantile = (quantile + 0.5) % 1",
    ),
    "dropped_gradient": (
        "paper, release = 0, quarter.mean()",
        "paper, release = 0, 1",
    ),
    "calibrated_temperature": (TEMPERATURE, "temperature = 0.001"),
    "nearest_cameras": (CAMERAS, "pair = distances[max(distances)]"),
    "alignment_uniformity": (UNIFORM, "uniform = max(uniformity, key=uniformity.get)"),
    "shift_gain": ("points = 0", "points = 5"),
    "distinguishable": (APART, "different = [] if different else release"),
    "seeds_needed": (SEEDS, "seeds = 3"),
    "without_camera_rule": (RULE, "points = points + 1"),
}


def run(source, names):
    """Run a cell and return what it shows."""
    *before, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        return exec(source, names)
    exec(ast.unparse(ast.Module(before, [])), names)
    return eval(ast.unparse(last.value), names)


@pytest.mark.parametrize("name", COURSE)
def test_right_and_wrong_answers_are_distinguished(name, monkeypatch):
    monkeypatch.chdir(FOLDER)
    for module, slow in ((analysis, "umap_map"), (evidence, "robustness_tables")):
        monkeypatch.setattr(module, slow, MagicMock())
    checks = {call.func.attr for _, _, call in exercises_of(name)}
    names, verdicts = {}, {}
    for cell in code_of(name):
        run(cell.source, names)
        names |= {"figures": MagicMock(), "widgets": MagicMock()}  # figures are not checked
        if call := check_of(cell):
            verdicts[call.func.attr] = []
            for answer in ANSWERS[call.func.attr]:
                exec(answer, names)
                verdicts[call.func.attr].append(run(cell.source, names).right)
        if verdicts.keys() == checks:
            break  # what the notebook checks by itself is for its own run
    assert verdicts == dict.fromkeys(checks, [True, False])
