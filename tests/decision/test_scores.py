import numpy as np

from anomem.decision.scores import highest_frames, image_scores, joined_scores, scale_names


def test_scales_are_named_from_the_shallowest() -> None:
    assert scale_names(3) == ["scale_1", "scale_2", "scale_3"]


def test_highest_frame_of_each_image() -> None:
    scores, image = [1.0, 5.0, 2.0, 2.0, -1.0, 7.0], [3, 0, 3, 3, 9, 0]
    assert highest_frames(scores, image).tolist() == [5, 2, 4]


def test_an_image_has_the_score_of_its_highest_frame() -> None:
    score = np.array([1, 3, np.nan, 2], dtype=np.float32)
    frames = score, np.stack([score, 10 * score], 1)
    names = ["", "", "a", "b", "c", "d"]
    part = image_scores(range(2, 6), frames, np.array([2, 2, 3, 5]), {4: "c: bad."}, names)
    joined = joined_scores([(range(4), part), (range(4, 8), part)])
    for found, first in ((part, 0), (joined, 4)):
        np.testing.assert_array_equal(found.score[first:], [3, np.nan, np.nan, 2])
        np.testing.assert_array_equal(found.scale_scores[first:, 1], [30, np.nan, np.nan, 20])
    assert part.errors[2] == joined.errors[6] == "c: bad."
    assert part.errors[1].startswith("b: the score is not finite")
