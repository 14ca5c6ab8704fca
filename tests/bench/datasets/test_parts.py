import numpy as np

from anomem.images.arrays import ArraySource
from anomem_bench.datasets import Part


def test_images_of_classes_are_found_by_name() -> None:
    images = ArraySource(np.zeros((5, 2, 2), np.uint8))
    part = Part(images, np.array([2, 0, 1, 2, 1]), ("good", "crack", "dent"))
    assert part.of(["dent"]).tolist() == [0, 3]
    assert part.of(["crack", "good"]).tolist() == [1, 2, 4]
    assert part.of([]).tolist() == []
