import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter

from anomem import Config
from anomem.images.image_set import to_float
from anomem_bench.peers.padim import PaDiM

Digits = dict[str, npt.NDArray[np.uint8]]


@torch.inference_mode()
def test_score_is_the_largest_distance_from_the_gaussian_of_its_place(
    hasty: Config, digits: Digits
) -> None:
    model = PaDiM(hasty, device="cpu").fit(digits["train"])

    def maps(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        found = model.network_(to_float(torch.from_numpy(images)[:, None]))
        return found[:, model.channels_].double().numpy()

    known, shown = maps(digits["train"]), digits["anomalous"][:3]
    views = [shown]
    if hasty.score.mirror and hasty.views.flip:
        views.append(shown[:, :, ::-1].copy())
    expected = []
    for view in views:
        seen = maps(view)
        distance = np.zeros((len(seen), *seen.shape[2:]))
        for row, column in np.ndindex(seen.shape[2:]):
            here = known[:, :, row, column]
            inverse = np.linalg.inv(np.cov(here.T) + 0.01 * np.eye(here.shape[1]))
            for k, image in enumerate(seen):
                offset = image[:, row, column] - here.mean(axis=0)
                distance[k, row, column] = np.sqrt(offset @ inverse @ offset)
        size = shown.shape[1:]
        whole = torch.nn.functional.interpolate(
            torch.from_numpy(distance)[:, None], size, mode="bilinear"
        )[:, 0].numpy()
        expected.append([gaussian_filter(each, 4, mode="mirror").max() for each in whole])
    np.testing.assert_allclose(model.decision_function(shown), np.mean(expected, axis=0), rtol=1e-3)
