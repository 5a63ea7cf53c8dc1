"""Make the committed numbers from the whole kit: ``python -m tests.parity.compact KIT``.

Inputs and short arrays stay as they are. Of long rows that the published code computed the first
columns and a digest remain; see `tests.parity.kit.reduced`.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from .kit import COMMITTED, FILES, KEPT, NOT_COMPARED, reduced

FEW = 1024  # numbers in an array that stays whole
EXACT = ("input", "output")  # of CutSwap, which must be equal


def compact(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what is kept of a file's arrays."""
    kept = {}
    for name, x in arrays.items():
        computed = name == "embeddings" or (x.dtype == np.float64 and name not in EXACT)
        if computed and x.size > FEW and x.shape[-1] > KEPT:
            kept |= {f"{name}/{part}": value for part, value in reduced(x).items()}
        else:
            kept[name] = x
    return kept


def main() -> None:
    """Write all files of numbers/."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.compact", description=__doc__)
    parser.add_argument("kit", type=Path, help="folder of the whole kit")
    kit = parser.parse_args().kit
    COMMITTED.mkdir(exist_ok=True)
    for file in FILES:
        with np.load(kit / f"{file}.npz", allow_pickle=False) as whole:
            kept = compact(
                {name: whole[name] for name in whole.files if name != NOT_COMPARED.get(file)}
            )
        np.savez_compressed(COMMITTED / f"{file}.npz", **kept)
    names = json.loads((kit / "names.json").read_text(encoding="utf-8"))
    text = json.dumps(names, separators=(",", ":")).replace("]],[", "]],\n[")
    (COMMITTED / "names.json").write_text(text + "\n", encoding="utf-8")
    shutil.copyfile(kit / "learning_rate.csv", COMMITTED / "learning_rate.csv")
    files = sorted(COMMITTED.iterdir())
    print("\n".join(f"{path.stat().st_size:>8} {path.name}" for path in files))
    print(f"{sum(path.stat().st_size for path in files):>8} bytes in all")


if __name__ == "__main__":
    main()
