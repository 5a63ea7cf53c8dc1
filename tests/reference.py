"""Slow references in float64: one sample, one class, one temperature at a time.

They follow the method's description, not the library's code, and share nothing with it.
"""

import torch


def dot(a, b):
    assert a.shape == b.shape
    return (a * b).sum()


def normalised(a):
    return a / dot(a, a).sqrt()


def softmax(values):
    exps = torch.exp(torch.stack(list(values)))
    return exps / exps.sum()


def kl(p, q):
    """KL(p || q)."""
    return (p * (p.log() - q.log())).sum()


def class_means(embeddings, labels, num_classes):
    means = []
    for k in range(num_classes):
        rows = [z for z, label in zip(embeddings, labels.tolist(), strict=True) if label == k]
        means.append(normalised(sum(rows) / len(rows)))
    return torch.stack(means)


def updated_mean(values, embeddings, labels, momentum):
    values = values.clone()
    for k in sorted(set(labels.tolist())):
        rows = [z for z, label in zip(embeddings, labels.tolist(), strict=True) if label == k]
        values[k] = normalised(momentum * values[k] + (1 - momentum) * sum(rows) / len(rows))
    return values


def updated_hardest(values, embeddings, labels, momentum):
    values = values.clone()
    for k in sorted(set(labels.tolist())):
        rows = [z for z, label in zip(embeddings, labels.tolist(), strict=True) if label == k]
        hardest = min(rows, key=lambda z: float(dot(z, values[k])))
        values[k] = normalised(momentum * values[k] + (1 - momentum) * hardest)
    return values


def info_nce(z, prototypes, labels, temperature=0.05):
    losses = []
    for row, label in zip(z, labels.tolist(), strict=True):
        p = softmax([dot(row, c) / temperature for c in prototypes])
        losses.append(-p[label].log())
    return sum(losses) / len(losses)


def mutual(v, r, a, on_v, on_r, on_a, temperature=0.05):
    """KL(target || prediction) of three pairs, mean over all 3B rows; targets are constants."""

    def p(row, centres):
        return softmax([dot(row, c) / temperature for c in centres])

    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(v)):
        pairs = [
            (p(v[i], on_v), p(r[i], on_v)),
            (p(r[i], on_r), p(v[i], on_r)),
            (p(a[i], on_a), p(a[i], on_r)),
        ]
        total = total + sum(kl(target.detach(), q) for q, target in pairs)
    return total / (3 * len(v))


def triplet(z, centres, labels, margin=0.3):
    names = labels.tolist()
    losses = []
    for row, own in zip(z, names, strict=True):
        distance = {k: dot(row - centres[k], row - centres[k]).sqrt() for k in set(names)}
        others = [d for k, d in distance.items() if k != own]
        gap = distance[own] - min(others) + margin if others else torch.zeros(())
        losses.append(gap if gap > 0 else 0 * distance[own])
    return sum(losses) / len(losses)


def teacher_loss(v, r, a, labels, memories):
    """Weighted total; `memories` maps "v", "r", "a", "all" to (values, centres)."""
    every, names = torch.cat([v, r, a]), torch.cat([labels] * 3)
    values = {name: memory[0] for name, memory in memories.items()}
    centres = {name: memory[1] for name, memory in memories.items()}
    return (
        info_nce(every, values["all"], names)
        + info_nce(v, values["v"], labels)
        + info_nce(r, values["r"], labels)
        + 0.4 * info_nce(a, values["a"], labels)
        + 1.2 * mutual(v, r, a, centres["v"], centres["r"], centres["a"])
        + triplet(every, centres["all"], names)
    )


def standardised(row):
    n = len(row)
    mean = row.sum() / n
    std = (((row - mean) ** 2).sum() / (n - 1)).sqrt()
    return (row - mean) / (std + 1e-7)


def kd(student, teacher, t):
    """t^2 KL(teacher || student) of one standardised row."""
    p = softmax(standardised(teacher.detach()) / t)
    q = softmax(standardised(student) / t)
    return t**2 * kl(p, q)


def median(values):
    ordered, n = sorted(values), len(values)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def dakd_loss(student, teacher, centres, release=False):
    """DAKD's total; each argument is {"v": rows, "r": rows}."""
    total = torch.zeros((), dtype=torch.float64)
    for level in ("instance", "class"):
        for side in ("v", "r"):
            inputs = {}
            for name in ("v", "r"):
                s, z = student[name], teacher[name]
                if level == "class":
                    s, z = (
                        torch.stack(
                            [torch.stack([dot(x, c) / 0.05 for c in centres[name]]) for x in rows]
                        )
                        for rows in (s, z)
                    )
                inputs[name] = (s, z)
            kept = [True] * len(student[side])
            if side == "r":
                confidences = [float(max(softmax(row))) for row in inputs["r"][1]]
                threshold = median(confidences)
                kept = [c <= threshold if release else c >= threshold for c in confidences]
            samples = []
            for i in range(len(kept)):
                value = torch.zeros((), dtype=torch.float64)
                for t in (2, 3, 4, 5, 6):
                    swap = release and side == "v" and t in (2, 6)
                    s, z = inputs["r" if swap else side]
                    value = value + kd(s[i], z[i], t)
                samples.append(value)
            if release:
                term = sum(samples) / len(samples) * (sum(kept) / len(kept))
            else:
                term = sum(x for x, keep in zip(samples, kept, strict=True) if keep) / len(kept)
            total = total + 0.5 * term
    return 0.9 * total
