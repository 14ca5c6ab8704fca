"""Why an image has its score: the score of each scale, and where each scale deviates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from anomem.decision.ready import Explained
from anomem.decision.scores import scale_names
from anomem.detector.detector import Detector
from anomem.detector.heat_maps import Unusual, enlarged
from anomem.detector.odd_places import OddPlace, odd_places
from anomem.detector.score import score_features
from anomem.images.framing import assembled, boxes
from anomem.images.image_set import floats_on, tensor_of
from anomem.images.open import only_image, open_images
from anomem.images.read import read
from anomem.model.attribution import attribution
from anomem.model.features import extract
from anomem.model.heat import shares_of_unusual
from anomem.model.one_class import place_norms
from anomem.model.place_maps import place_maps


@dataclass(frozen=True, kw_only=True)
class Explanation(Explained):
    """Explains one image.

    Attributes:
        maps: Deviation map of each scale: the norm of the deviation at each place, H x W float32,
            enlarged to the size of the image given; the mean with that of the mirror image where it
            is measured too; 0 outside of the region.
        attribution: What each place of each scale of the frame adds to the score, H_s x W_s
            float32; below 0 where a place looks more normal than usual.
        rest: What no place has a part in: all attributions and the rest are the score.
        recalled: The prototype that each place of each scale of the frame recalls most, H_s x W_s
            int64.
        odd: With memories of places, the places on which the score rests, each with that of a
            training normal which is most like it; those that deviate most first.
    """

    maps: dict[str, npt.NDArray[np.float32]]
    attribution: dict[str, npt.NDArray[np.float32]]
    rest: float
    recalled: dict[str, npt.NDArray[np.int64]]
    odd: list[OddPlace]


@torch.no_grad()
def explain(detector: Detector, image: object) -> Explanation:
    """Explain one image: a path, a PIL image, an array H x W x 3 or H x W, or a source of one."""
    network, framing = detector.network, detector.framing
    source = only_image(image)
    pixels = source[0]
    size = pixels.shape[:2]
    # The files of whole images may be read at a reduced size; others are not read again.
    again = source if framing.whole else open_images([pixels])
    prepared = tensor_of(read(again, [0], framing).images)
    usual = detector.usual
    features = extract(network, prepared, usual=usual)
    scores = score_features(detector.scorer, features)
    best = int(scores.argmax())
    highest = floats_on(network.encoder.mean.device, prepared[best : best + 1])
    feature_maps = network(highest)
    of_highest = features.at(torch.tensor([best]))
    seen = place_maps(network, prepared, deviations=True)
    unusual = shares_of_unusual(usual, seen.features[0])[best] if usual else None
    divided = attribution(network, detector.scorer, highest, of_highest, unusual)
    names = scale_names(len(feature_maps))
    where = boxes(size, framing)
    norms = [place_norms(each) for each in seen.deviations]
    maps = [assembled(enlarged(each, where), size, framing.region) for each in norms]
    return Explanation(
        score=float(scores[best]),
        frame=where[best],
        scale_scores=dict(zip(names, features.scores[best].tolist(), strict=True)),
        maps=dict(zip(names, maps, strict=True)),
        heat=Unusual.of(seen, detector.heat).heat(size, framing),
        attribution={n: places.numpy() for n, places in zip(names, divided.maps, strict=True)},
        rest=divided.rest,
        recalled={
            name: memory.recalled(places[0].permute(1, 2, 0)).cpu().numpy()
            for name, memory, places in zip(
                names, network.scale_memories(), feature_maps, strict=True
            )
        },
        odd=odd_places(detector, feature_maps, where[best], size),
        beside=float(detector.scorer.of_beside(of_highest)),
    )
