"""A contender that asks for no training."""

import torch

from anomem.images.image_set import ImageSet
from anomem_bench.contender import Scores


class Brightness:
    """The brighter, the more anomalous."""

    score_names = ("brightness",)

    def scores(self, images: ImageSet) -> Scores:
        pixels = images.take(torch.arange(len(images))).float()
        return {"brightness": pixels.mean(dim=(1, 2, 3)).numpy()}
