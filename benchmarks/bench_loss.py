"""Time of the DAKD loss, compared with a naive sum of separate KL terms.

The naive sum standardises in every term; the package standardises once per level and modality, and
stacks the temperatures. Times are wall-clock times: run it on a quiet machine.

python benchmarks/bench_loss.py [--batch 64] [--dim 2048] [--classes 395]
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dakd.distill import ByModality, DAKDLoss, confidence_mask

TEMPERATURES = (2, 3, 4, 5, 6)


def naive(student: ByModality, teacher: ByModality, centres: ByModality) -> Tensor:
    """Return the loss as a sum of KL terms, each with its own standardisation and softmax."""

    def term(s: Tensor, t: Tensor, mask: Tensor | None) -> Tensor:
        total = torch.zeros(len(s), device=s.device)
        for tau in TEMPERATURES:
            zs, zt = (
                (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-7) for x in (s, t)
            )
            kl = F.kl_div((zs / tau).log_softmax(1), (zt / tau).softmax(1), reduction="none").sum(1)
            total = total + tau**2 * kl
        return (total if mask is None else total * mask).mean()

    def mask_of(logits: Tensor) -> Tensor:
        return confidence_mask(logits.softmax(1).amax(1))

    def logits(z: Tensor, c: Tensor) -> Tensor:
        return z @ c.T / 0.05

    v, r = (logits(t, c) for t, c in zip(teacher, centres, strict=True))
    instance = term(student.visible, teacher.visible, None)
    instance = instance + term(student.infrared, teacher.infrared, mask_of(teacher.infrared))
    level = term(logits(student.visible, centres.visible), v, None)
    level = level + term(logits(student.infrared, centres.infrared), r, mask_of(r))
    return 0.9 * (0.5 * instance + 0.5 * level)


def milliseconds(run: Callable[[], None], device: torch.device, repeats: int = 40) -> float:
    """Return the median time of forward and backward."""
    times = []
    for _ in range(repeats + 5):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[5:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("batch", 64), ("dim", 2048), ("classes", 395)):
        parser.add_argument(f"--{name}", type=int, default=value)
    size = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)

    def unit(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, size.dim, device=device), dim=1)

    teacher, centres = (ByModality(unit(n), unit(n)) for n in (size.batch, size.classes))
    student = ByModality(*(unit(size.batch).requires_grad_() for _ in range(2)))
    ours = DAKDLoss()
    losses = {"ours": lambda: ours(student, teacher, centres).total}
    losses["naive"] = lambda: naive(student, teacher, centres)
    values = {name: loss() for name, loss in losses.items()}
    gradients = {name: torch.autograd.grad(v, student) for name, v in values.items()}
    ours_value, naive_value = (value.item() for value in values.values())
    value_error = abs(ours_value - naive_value) / naive_value
    gradient_error = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(*gradients.values(), strict=True)
    )
    ms = {
        name: milliseconds(lambda loss=loss: torch.autograd.grad(loss(), student), device)
        for name, loss in losses.items()
    }
    print(f"{platform.processor() or platform.machine()}, {device}, torch {torch.__version__}, ")
    print(f"{torch.get_num_threads()} threads; batch {size.batch}, D {size.dim}, K {size.classes}")
    print(f"forward and backward: ours {ms['ours']:.2f} ms, naive {ms['naive']:.2f} ms, ", end="")
    print(f"ratio {ms['ours'] / ms['naive']:.2f}")
    print(f"relative difference: loss {value_error:.1e}, gradient {gradient_error:.1e}")


if __name__ == "__main__":
    main()
