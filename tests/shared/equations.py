"""Eq. 1 to 3 of the paper with numbers and loops, and what ``scratch`` makes of Eq. 2."""

import math

Vector = list[float]


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(vector: Vector) -> Vector:
    return [value / math.sqrt(dot(vector, vector)) for value in vector]


def recollected(
    query: Vector, prototypes: list[Vector], *, beta: float, steps: int, unit_norm: bool
) -> Vector:
    """HF: xi <- softmax(beta xi X^T) X, with ``unit_norm`` on the unit sphere."""
    if unit_norm:
        query, prototypes = unit(query), [unit(prototype) for prototype in prototypes]
    for _ in range(steps):
        likeness = [math.exp(beta * dot(query, prototype)) for prototype in prototypes]
        query = [
            sum(s * p[channel] for s, p in zip(likeness, prototypes, strict=True)) / sum(likeness)
            for channel in range(len(query))
        ]
        query = unit(query) if unit_norm else query
    return query


def contrast(
    ones: list[Vector], twos: list[Vector], tau: float, *, normals: int = 0, soft_class: float = 0
) -> float:
    """Eq. 2 at one place: the other view is the positive, all of both views but oneself count.

    With a soft class, only normals (the first so many) are anchors, and all other normals of both
    views share so much positive weight, against 1 for the other view.
    """
    views, count = ones + twos, len(ones)
    anchors = [i for i in range(2 * count) if soft_class == 0 or i % count < normals]
    total = 0.0
    for anchor in anchors:
        likeness = {
            other: dot(unit(views[anchor]), unit(views[other])) / tau
            for other in range(2 * count)
            if other != anchor
        }
        every = math.log(sum(math.exp(value) for value in likeness.values()))
        own = (anchor + count) % (2 * count)
        weights = {own: 1.0}
        alike = [i for i in likeness if i != own and i % count < normals]
        if soft_class > 0:
            weights |= {other: soft_class / len(alike) for other in alike}
        shares = [weight * (every - likeness[other]) for other, weight in weights.items()]
        total += sum(shares) / sum(weights.values())
    return total / len(anchors)


def spread(samples: list[Vector]) -> float:
    """Eq. 3: minus the standard deviation of each channel, in the mean over channels."""
    total = 0.0
    for values in zip(*samples, strict=True):
        mean = sum(values) / len(values)
        total -= math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return total / len(samples[0])
