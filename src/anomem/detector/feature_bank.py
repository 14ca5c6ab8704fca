"""What a model keeps of the images it has seen: enough to adapt and to calibrate without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from anomem.detector.identity import frame_digests
from anomem.detector.json_tensor import as_tensor, of_tensor
from anomem.detector.training_images import TrainingImages
from anomem.images.image_set import Chosen, ImageSet, evenly
from anomem.model.features import Features, extract_set
from anomem.model.heat import HeatModel
from anomem.model.network import MultiScaleMemory
from anomem.model.one_class import RememberedImages
from anomem.model.recall import deviating_places, no_places
from anomem.training.checkpoint import under
from anomem.training.prototypes import Turn, extract_in_turn

MOST_KEPT = 1000
_FEWEST = {"images": 1, "held_out": 1}
"""Of which a saved bank has some."""
_FEWEST_NORMALS = 4


@dataclass(frozen=True)
class LabelledImages:
    """Holds images with their labels, each by one frame.

    Attributes:
        images: A frame of each of N images.
        label: (N,) int64: 0 normal, 1 anomalous, -1 to be forgotten.
        digest: (N,) int64, of the whole image as it is measured.
        pixels: (N,) int64, of all its pixels, see :func:`~anomem.detector.identity.full_digests`.
        frames: All F frames of the images.
        image: (F,) int64, number of the image of each.
        inside: (N, H, W) bool, where the anomaly of each may be on its frame in ``images``; None is
            everywhere.
    """

    images: ImageSet
    label: Tensor
    digest: Tensor
    pixels: Tensor
    frames: ImageSet
    image: Tensor
    inside: Tensor | None = None


@dataclass(frozen=True)
class LabelledFeatures:
    """Holds the features of labelled images.

    Attributes:
        features: Of N images.
        label: (N,) int64, 0 normal, 1 anomalous.
        digest: (N,) int64, of each as it was first measured; tells whether it is held out.
        pixels: (N,) int64, digest of all pixels, also where a file was decoded at a reduced size;
            tells whether an image has been labelled before.
        places: (M, K, sum C_s) float16, the places of the M labelled normals that deviate most, see
            :func:`~anomem.model.recall.deviating_places`.
    """

    features: Features
    label: Tensor
    digest: Tensor
    pixels: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.label)

    @staticmethod
    def none(network: MultiScaleMemory, like: Features) -> LabelledFeatures:
        """Take no labelled image; ``like`` gives the widths."""
        nothing = torch.zeros(0, dtype=torch.int64)
        places = no_places(network)
        return LabelledFeatures(like.at(nothing), nothing, nothing, nothing, places)

    @staticmethod
    def of(
        network: MultiScaleMemory, given: LabelledImages, usual: Sequence[HeatModel] = ()
    ) -> LabelledFeatures:
        """Extract the features of labelled images, at least one.

        The network is as no label has changed it, and without prototypes of these images.
        """
        features = _kept(network, extract_set(network, given.images, given.inside, usual))
        normal = (given.label == 0)[given.image].nonzero().flatten()
        number = given.image[normal].unique(return_inverse=True)[1]
        places = deviating_places(network, Chosen(given.frames, normal), number)
        return LabelledFeatures(features, given.label, given.digest, given.pixels, places)

    def at(self, indices: Tensor) -> LabelledFeatures:
        """Choose the images of some indices, or of a mask."""
        label, digest, pixels = (each[indices] for each in (self.label, self.digest, self.pixels))
        normal = self.label == 0
        places = self.places[(normal.cumsum(0) - 1)[indices][normal[indices]]]
        return LabelledFeatures(self.features.at(indices), label, digest, pixels, places)

    def updated(self, newer: LabelledFeatures) -> LabelledFeatures:
        """Add labels; an image labelled again takes its newer label, and -1 takes it back."""
        kept = self.without(newer.pixels)
        last = {pixels: index for index, pixels in enumerate(newer.pixels.tolist())}
        given = [i for i in sorted(last.values()) if int(newer.label[i]) != -1]
        added = newer.at(torch.tensor(given, dtype=torch.int64))
        # One known from a file and now given as an array is still the image that was held out.
        first = dict(zip(self.pixels.tolist(), self.digest.tolist(), strict=True))
        both = zip(added.pixels.tolist(), added.digest.tolist(), strict=True)
        digest = torch.tensor([first.get(pixels, own) for pixels, own in both], dtype=torch.int64)
        return LabelledFeatures(
            Features.joined([kept.features, added.features]),
            torch.cat([kept.label, added.label]),
            torch.cat([kept.digest, digest]),
            torch.cat([kept.pixels, added.pixels]),
            torch.cat([kept.places, added.places]),
        )

    def without(self, pixels: Tensor) -> LabelledFeatures:
        """Leave out those whose digest of all pixels is one of these."""
        return self.at(~torch.isin(self.pixels, pixels))


@dataclass(frozen=True)
class FeatureBank:
    """Holds all that stays of the images; its size does not grow with the training set.

    Attributes:
        normals: Frames of training normals that are not held out in turn, at most 1,000.
        held_out: All frames of the normals held out for calibration, at most 1,000 images.
        labelled: All labelled images.
        held_out_image: (F,) int64, number of the image of each held-out frame.
        held_out_digest: (N,) int64, by which these images are known again.
        held_out_group: (N,) int64, number of the group of each, not the same in two kinds.
        held_out_kind: (N,) int64, number of the kind of normal of each: 0 for that of the fit, then
            counting those that were learnt since.
        held_out_aside: (N,) bool, those that a person has set aside.
        held_out_in_turn: (N,) bool, those that the memory is made of too: each was measured without
            the prototypes of its own group.
        held_out_odd: (N,) bool, those that are unlike all others, so that they leave the memory,
            see :mod:`~anomem.detector.odd_normals`.
        held_out_name: What each of them was called.
        trained_digest: (M,) int64, of normals that were trained on, at most 1,000.
        learnt_pixels: (L,) int64, digests of all pixels of the anomalies that stage 1 learnt from,
            whether they are still labelled or not.
        place_share: Share of the variance of the finest map that the place explains over the
            training normals of the fit, a float32 scalar.
    """

    normals: Features
    held_out: Features
    labelled: LabelledFeatures
    held_out_image: Tensor
    held_out_digest: Tensor
    held_out_group: Tensor
    held_out_kind: Tensor
    held_out_aside: Tensor
    held_out_in_turn: Tensor
    held_out_odd: Tensor
    held_out_name: tuple[str, ...]
    trained_digest: Tensor
    learnt_pixels: Tensor
    place_share: Tensor

    def learnt(self) -> Tensor:
        """Tell which labelled images are anomalies that stage 1 learnt from, (N,) bool."""
        known = torch.isin(self.labelled.pixels, self.learnt_pixels)
        return known & (self.labelled.label == 1)

    def held_out_label(self) -> Tensor:
        """Give the label that each held-out image has got since, (N,) int64; -1 where none."""
        label = torch.full_like(self.held_out_digest, -1)
        held, given = torch.nonzero(
            self.held_out_digest[:, None] == self.labelled.digest, as_tuple=True
        )
        label[held] = self.labelled.label[given]
        return label

    def deciding(self) -> Tensor:
        """Tell which held-out images decisions rest on, (N,) bool.

        Those that were labelled anomalous since, or that a person has set aside, are left out.
        """
        return (self.held_out_label() != 1) & ~self.held_out_aside

    def dismissed(self) -> Tensor:
        """Give the digests of images of which nothing is recalled.

        Those labelled anomalous or set aside, and those that are unlike all others and not labelled
        normal.
        """
        anomalous = self.labelled.digest[self.labelled.label == 1]
        odd = self.held_out_odd & (self.held_out_label() != 0)
        return torch.cat([anomalous, self.held_out_digest[self.held_out_aside | odd]])

    def check_deciding(self) -> None:
        """See that decisions of each kind of normal rest on some held-out image.

        Raises:
            ValueError: Those of a kind rest on none.
        """
        deciding = self.deciding()
        for kind in self.held_out_kind.unique():
            alike = self.held_out_kind == kind
            if not deciding[alike].any():
                raise ValueError(
                    f"all {int(alike.sum())} held-out normals would be labelled anomalous or set "
                    "aside, and no threshold could be set; fit anew without these images."
                )

    def held_out_normals(self) -> Features:
        """Give the frames of the held-out images that are not labelled anomalous, at least one."""
        return self.held_out.at((self.held_out_label() != 1)[self.held_out_image])

    def teaching_normals(self) -> Features:
        """Give the frames of normals that stage 2 learns from, beside those that are labelled.

        Those trained on, and of those held out in turn all that are like the others and not
        labelled anomalous; at most 1,000.
        """
        in_turn = self.held_out_in_turn & ~self.held_out_odd & (self.held_out_label() != 1)
        normals = Features.joined([self.normals, self.held_out.at(in_turn[self.held_out_image])])
        return normals.at(evenly(len(normals), MOST_KEPT))

    def remembered_images(self) -> RememberedImages:
        """Give what is pooled of the images that a scorer recalls.

        Those are the normals that teach stage 2, the labelled ones that are not held out, and the
        labelled anomalies.
        """
        known = self.labelled
        new = (known.label == 0) & ~torch.isin(known.digest, self.held_out_digest)
        pooled = known.features.pooled
        return RememberedImages(
            self.teaching_normals().pooled, pooled[new], pooled[known.label == 1]
        )

    def untaught_by(self, images: Tensor) -> FeatureBank:
        """Give the same bank where some held-out images (n,), by number, teach stage 2 nothing."""
        in_turn = self.held_out_in_turn.clone()
        in_turn[images] = False
        others = ~torch.isin(self.labelled.digest, self.held_out_digest[images])
        return replace(self, held_out_in_turn=in_turn, labelled=self.labelled.at(others))

    def with_labels(self, labelled: LabelledFeatures) -> FeatureBank:
        """Give the same bank with other labels."""
        return replace(self, labelled=labelled)

    def extended(self, newer: FeatureBank) -> FeatureBank:
        """Join the normals of another bank of the same network to its own; labels stay."""
        normals = Features.joined([self.normals, newer.normals])
        trained = torch.cat([self.trained_digest, newer.trained_digest])
        first = {
            "held_out_image": len(self.held_out_digest),
            "held_out_digest": 0,
            "held_out_group": int(self.held_out_group.max()) + 1,
            "held_out_kind": int(self.held_out_kind.max()) + 1,
        }
        numbers: dict[str, Any] = {
            name: torch.cat([getattr(self, name), getattr(newer, name) + number])
            for name, number in first.items()
        }
        return replace(
            self,
            normals=normals.at(evenly(len(normals), MOST_KEPT)),
            held_out=Features.joined([self.held_out, newer.held_out]),
            held_out_aside=torch.cat([self.held_out_aside, newer.held_out_aside]),
            held_out_in_turn=torch.cat([self.held_out_in_turn, newer.held_out_in_turn]),
            held_out_odd=torch.cat([self.held_out_odd, newer.held_out_odd]),
            held_out_name=self.held_out_name + newer.held_out_name,
            trained_digest=trained[evenly(len(trained), MOST_KEPT)],
            **numbers,
        )

    def recognised(self, fresh: FeatureBank) -> FeatureBank:
        """Add to a bank of the same held-out images by a new network what is known of each here."""
        order = self.held_out_digest.argsort()
        here = order[torch.searchsorted(self.held_out_digest[order], fresh.held_out_digest)]
        return replace(
            fresh,
            held_out_group=self.held_out_group[here],
            held_out_kind=self.held_out_kind[here],
            held_out_aside=self.held_out_aside[here],
            held_out_in_turn=self.held_out_in_turn[here],
            held_out_odd=self.held_out_odd[here],
            held_out_name=tuple(self.held_out_name[index] for index in here.tolist()),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Give every tensor, by the name of its attribute."""
        found = {name: attrgetter(name)(self) for name in SAVED if name != "held_out_name"}
        return found | {"held_out_name": as_tensor(self.held_out_name)}

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> FeatureBank:
        """Build the bank of its tensors, of shapes as :func:`check_bank` wants them.

        Raises:
            ValueError: A number is out of its range, or a held-out image has no frame.
        """
        sizes = _sizes(tensors)
        for name, saved in SAVED.items():
            below = saved.below if isinstance(saved.below, int) else sizes[saved.below]
            values = tensors[name]
            if saved.least is not None and ((values < saved.least) | (values >= below)).any():
                raise ValueError(f"{name} holds numbers below {saved.least} or not below {below}")
        if len(tensors["held_out_image"].unique()) < sizes["images"]:
            raise ValueError("a held-out image has no frame")
        in_turn = int(tensors["held_out_in_turn"].sum())
        if len(tensors["normals.scores"]) + in_turn < _FEWEST_NORMALS:
            raise ValueError("there are too few normals")
        names = of_tensor(tensors["held_out_name"])
        known = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not known or len(names) != sizes["images"]:
            raise ValueError("the names of held-out images are none")
        if int((tensors["labelled.label"] == 0).sum()) != sizes["labelled_normals"]:
            raise ValueError("places of labelled normals are of other images")
        features, labels = (
            Features(**under("labelled.features", tensors)),
            under("labelled", tensors),
        )
        own = {name: tensors[name] for name in SAVED if "." not in name and name != "held_out_name"}
        return FeatureBank(
            normals=Features(**under("normals", tensors)),
            held_out=Features(**under("held_out", tensors)),
            labelled=LabelledFeatures(
                features, *(labels[n] for n in ("label", "digest", "pixels", "places"))
            ),
            held_out_name=tuple(names),
            **own,
        )


def fill_bank(
    network: MultiScaleMemory,
    images: TrainingImages,
    place_share: Tensor,
    turns: Sequence[Turn] | None = None,
    usual: Sequence[HeatModel] = (),
) -> FeatureBank:
    """Extract what a model keeps of the images of a training, as its network sees them.

    Args:
        network: In evaluation mode.
        images: Of the training.
        place_share: As of :class:`FeatureBank`.
        turns: By which networks held-out normals are measured, where each is held out in turn.
        usual: As :func:`~anomem.model.features.extract` takes it.
    """
    anomalies, known = images.anomalies, images.held_out_known
    if turns is None:
        of_normals = (images.held_out, images.normals.spread(MOST_KEPT))
        held_out, normals = (
            _kept(network, extract_set(network, part, usual=usual)) for part in of_normals
        )
    else:
        held_out = extract_in_turn(turns, images.held_out)
        normals = held_out.at(torch.zeros(0, dtype=torch.int64))
    labelled = LabelledFeatures.none(network, held_out)
    if len(anomalies):
        digest, pixels = frame_digests(anomalies), images.anomaly_pixels
        given = LabelledImages(
            anomalies,
            torch.ones_like(digest),
            digest,
            digest if pixels is None else pixels,
            anomalies,
            torch.arange(len(anomalies)),
        )
        labelled = labelled.updated(LabelledFeatures.of(network, given, usual))
    trained = images.normals_digest
    return FeatureBank(
        normals=normals,
        held_out=held_out,
        labelled=labelled,
        held_out_image=images.held_out_image,
        held_out_digest=known.digest,
        held_out_group=known.group,
        held_out_kind=torch.zeros_like(known.group),
        held_out_aside=torch.zeros(len(known.group), dtype=torch.bool),
        held_out_in_turn=torch.full((len(known.group),), turns is not None),
        held_out_odd=torch.zeros(len(known.group), dtype=torch.bool),
        held_out_name=tuple(known.names),
        trained_digest=trained[evenly(len(trained), MOST_KEPT)],
        # Memories of places have no stage 1, so none of their labels bends what later ones tell.
        learnt_pixels=labelled.pixels[: 0 if network.of_places else None].clone(),
        place_share=place_share.clone(),
    )


def _kept(network: MultiScaleMemory, features: Features) -> Features:
    """Features as a model with such a network keeps them."""
    return features.kept() if network.of_places else features


@dataclass(frozen=True)
class Saved:
    """Says what a tensor of a saved bank must be.

    Attributes:
        dtype: Of its numbers.
        sizes: Names of its dimensions: those of one name are equal in all tensors.
        least: Its smallest number, None for no bound.
        below: What all are below: a number, or the name of a dimension.
    """

    dtype: torch.dtype
    sizes: tuple[str, ...]
    least: int | None = None
    below: int | str = 2**31


SAVED: dict[str, Saved] = {
    **{
        f"{part}.{name}": Saved(torch.float32, (part, *width))
        for part in ("normals", "held_out", "labelled.features")
        for name, *width in (
            ("scores", "scales"),
            ("pooled", "pooled"),
            ("evidence", "scales"),
            ("beside",),
        )
    },
    "held_out_image": Saved(torch.int64, ("held_out",), 0, "images"),
    "held_out_digest": Saved(torch.int64, ("images",)),
    "held_out_group": Saved(torch.int64, ("images",), 0, 2**40),
    "held_out_kind": Saved(torch.int64, ("images",), 0, "images"),
    "held_out_aside": Saved(torch.bool, ("images",)),
    "held_out_in_turn": Saved(torch.bool, ("images",)),
    "held_out_odd": Saved(torch.bool, ("images",)),
    "held_out_name": Saved(torch.int64, ("name",)),
    "trained_digest": Saved(torch.int64, ("trained",)),
    "labelled.label": Saved(torch.int64, ("labelled.features",), 0, 2),
    "labelled.digest": Saved(torch.int64, ("labelled.features",)),
    "labelled.pixels": Saved(torch.int64, ("labelled.features",)),
    "labelled.places": Saved(torch.float16, ("labelled_normals", "kept", "width")),
    "learnt_pixels": Saved(torch.int64, ("learnt",)),
    "place_share": Saved(torch.float32, ()),
}
"""Every tensor of a saved bank, by the name of its attribute."""


def check_bank(
    tensors: Mapping[str, Tensor],
    *,
    scales: int,
    pooled: tuple[int, torch.dtype],
    places: tuple[int, int],
) -> None:
    """Refuse tensors that are no bank, by their names, kinds and shapes alone.

    Args:
        tensors: By name; their values are not looked at.
        scales: Of the network.
        pooled: Length of what the network pools of an image, and of which numbers it is kept.
        places: Kept of a labelled normal, and their length.

    Raises:
        ValueError: One is missing, unknown, or of another kind or shape than the others.
    """
    wrong = tensors.keys() ^ SAVED.keys()
    if wrong:
        name = min(wrong)
        raise ValueError(f"{name[:60]!r} is {'unknown' if name in tensors else 'missing'}")
    kept, width = places
    length, numbers = pooled
    sizes = {"scales": scales, "pooled": length, "kept": kept, "width": width} | _sizes(tensors)
    for name, saved in SAVED.items():
        wanted = tuple(sizes.get(size) for size in saved.sizes)
        dtype = numbers if name.endswith(".pooled") else saved.dtype
        if tuple(tensors[name].shape) != wanted or tensors[name].dtype != dtype:
            raise ValueError(f"{name} does not fit the others")
    for name, fewest in _FEWEST.items():
        if sizes[name] < fewest:
            raise ValueError(f"there are {sizes[name]} {name}")


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The first dimensions, by name."""
    first = ((saved.sizes[:1], tensors[name].shape[:1]) for name, saved in SAVED.items())
    return {names[0]: size[0] for names, size in first if names and size}
