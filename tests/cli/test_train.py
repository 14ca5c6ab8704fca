import numpy as np
import numpy.typing as npt

from anomem import AnoMem
from anomem.cli.train import least_normal
from anomem.images.open import open_images


def test_strangers_among_the_normals_are_listed(
    model: AnoMem, digits: dict[str, npt.NDArray[np.uint8]]
) -> None:
    """Three digits that are not zeros, at indices 5, 25 and 45 of the normals."""
    images = digits["normal"].copy()
    images[[5, 25, 45]] = digits["anomalous"][:3]
    listed = least_normal(model, open_images(images))
    # A network of this size takes one of the three for a zero.
    assert len({"image 5", "image 25", "image 45"} & {name for name, _ in listed}) >= 2
    scores = [score for _, score in listed]
    assert len(listed) == 10 and scores == sorted(scores, reverse=True)
    every = model.decision_function(images)
    assert scores[0] == round(float(every.max()), 3)
