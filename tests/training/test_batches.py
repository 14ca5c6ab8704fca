import pytest
import torch
from torch import Tensor

from anomem.config import PseudoChoices, PseudoKind, Stage1Choices
from anomem.images.prepare import PreparedImages
from anomem.training.batches import Batches, OnDevice


def grey(levels: range) -> PreparedImages:
    """One image a level, 8 x 8."""
    level = torch.tensor(list(levels), dtype=torch.uint8)
    return PreparedImages(level.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous())


def batches(anomalies: int = 0, kinds: tuple[PseudoKind, ...] = ()) -> Batches:
    return Batches(
        grey(range(100)),
        grey(range(200, 200 + anomalies)) if anomalies else None,
        Stage1Choices(batch=10, anomaly_share=0.5),
        PseudoChoices(kinds),
        0,
        torch.device("cpu"),
    )


def level(images: Tensor) -> Tensor:
    return (images[:, 0, 0, 0] * 255).round()


def test_normals_come_first_then_anomalies_then_pseudo_anomalies_by_kind() -> None:
    drawn = batches(8, kinds=("rotate90", "rotate180")).at(4)
    assert drawn.normals == 10 and len(drawn.images) == 10 + 5 + 10
    assert drawn.kind.tolist() == 10 * [0] + 5 * [1] + 5 * [2] + 5 * [3]
    assert (level(drawn.images[:10]) < 100).all() and (level(drawn.images[10:15]) >= 200).all()
    assert torch.equal(drawn.images[15:], drawn.images[:10])  # each of one grey


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    one, other = batches(2), batches(2)
    one.at(0)
    assert torch.equal(one.at(7).images, other.at(7).images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_images_brought_to_a_device_are_drawn_as_they_were(dtype: torch.dtype) -> None:
    level = torch.arange(2500).to(torch.int32).remainder(251).to(dtype)
    images = PreparedImages(level.view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous())
    there = OnDevice(images, torch.device("cpu"))
    drawn = torch.tensor([2499, 0, 1024, 1023, 7])
    assert len(there) == 2500
    assert torch.equal(there.take(drawn), images.take(drawn))
