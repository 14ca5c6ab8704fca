import numpy as np

from anomem.evaluation.evaluate import Evaluation, groups
from anomem.evaluation.known import Known
from anomem.images.open import open_images

SCORE = np.array([-1.0, 0.9, 2.0, 3.0, 0.2, 1.1, 5.0, 1.2], np.float32)
EXAMINED = Evaluation(
    images=open_images(np.zeros((8, 4, 4, 1), np.uint8)),
    names=[f"folder/{number}" for number in range(8)],
    label=np.array([0, 0, 0, 0, 1, 1, 1, 1]),
    score=SCORE,
    threshold=1.0,
    mask_of=lambda index: None,
    known=Known(8, 0, 0, 0, 0, whole=True),
)


def test_errors_come_first_and_the_worst_of_them_before_the_others() -> None:
    misses, alarms, doubtful, anomalous = groups(EXAMINED)
    assert (misses.images, misses.total) == ([4], 1)
    assert (alarms.images, alarms.total) == ([3, 2], 2)
    assert doubtful.images == [1, 5, 7, 0, 6]
    assert (anomalous.images, anomalous.total) == ([], 3)


def test_an_image_is_shown_once() -> None:
    shown = [index for group in groups(EXAMINED) for index in group.images]
    assert len(shown) == len(set(shown))
