import base64
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from serving import Running, form, png

from anomem import AnoMem

Digits = dict[str, npt.NDArray[np.uint8]]


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_one_image_is_the_body_and_several_are_a_form(
    service: Running, model: AnoMem, digits: Digits
) -> None:
    images = digits["anomalous"][:2]
    _, one, _ = service.ask("v1/score?name=line%203/7.png", png(images[0]))
    body, kind = form(("C:\\line 3\\a.png", png(images[0])), ("../b.png", png(images[1])))
    status, several, _ = service.ask("v1/score?model=zeros", body, Content_Type=kind)
    assert status == 200 and [each["name"] for each in several["images"]] == ["a.png", "b.png"]
    assert one["images"][0] == {**several["images"][0], "name": "7.png"}
    assert [each["score"] for each in several["images"]] == model.decision_function(images).tolist()
    assert [each["prediction"] for each in several["images"]] == model.predict(images).tolist()
    assert [each["p_value"] for each in several["images"]] == model.p_value(images).tolist()
    assert several["threshold"] == model.threshold(0.05) and several["rule"] == "0.05"


def test_of_several_images_those_that_cannot_be_read_say_why(
    service: Running, digits: Digits
) -> None:
    good = png(digits["normal"][0])
    body, kind = form(("good.png", good), ("cut.png", good[:60]), ("no\x1b[2J.png", b"no"))
    status, told, _ = service.ask("v1/score", body, Content_Type=kind)
    verdicts = [each["verdict"] for each in told["images"]]
    assert status == 200 and verdicts[1:] == ["unreadable", "unreadable"]
    assert told["images"][0]["error"] is None and told["images"][1]["score"] is None
    assert told["images"][1]["error"].startswith("cut.png: the image is damaged or cut short")
    assert "\x1b" not in told["images"][2]["error"]
    status, told, _ = service.ask("v1/score", b"no image")
    assert status == 400 and told["error"].startswith("image: not an image of a known format")


def test_an_image_is_explained_in_json_and_as_a_picture(
    service: Running, model: AnoMem, digits: Digits
) -> None:
    image = digits["anomalous"][0]
    status, why, _ = service.ask("v1/explain", png(image))
    assert status == 200 and (why["height"], why["width"]) == image.shape
    assert why["image"]["score"] == model.explain(image).score
    assert picture(why["picture"]).size == picture(why["heat"]).size == (16, 16)
    assert picture(why["heat"]).mode == "RGBA"
    status, content, headers = service.ask("v1/explain", png(image), Accept="image/png")
    assert status == 200 and headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(content)).size == (16, 16)
    body, kind = form(("a.png", png(image)), ("b.png", png(image)))
    assert service.ask("v1/explain", body, Content_Type=kind)[0] == 400


def test_models_metrics_and_description_are_told(
    service: Running, model_folder: Path, model: AnoMem
) -> None:
    (told,) = service.ask("v1/models")[1]["models"]
    assert told["model"] == "zeros" and told["held_out"] == len(model.calibration())
    service.ask("v1/score", b"no image")
    metrics = service.ask("metrics")[1].decode()
    assert 'anomem_images_total{model="zeros",verdict="unreadable"}' in metrics
    assert 'anomem_answers_total{route="/v1/score",status="400"}' in metrics
    paths = service.ask("openapi.json")[1]["paths"]
    assert {"/v1/score", "/v1/explain", "/v2/models/{name}/infer"} <= set(paths)
    assert str(model_folder.parent) not in str(paths)


def test_a_change_of_the_images_is_told(model_folder: Path, digits: Digits) -> None:
    service = Running.of(model_folder, "--most-images", 200)
    try:
        status, told, _ = service.ask("v1/drift")
        assert status == 200 and told["models"][0]["change"] is None
        for kind in ("normal", "anomalous"):
            files = [(f"{kind}-{n}.png", png(each)) for n, each in enumerate(digits[kind][:40])]
            body, content = form(*files)
            assert service.ask("v1/score", body, Content_Type=content)[0] == 200
        change = service.ask("v1/drift")[1]["models"][0]["change"]
        assert change["image"].startswith("anomalous-") and "have changed since" in change["words"]
        assert 'anomem_drift{model="zeros"} 1.0' in service.ask("metrics")[1].decode()
        assert b"anomem: zeros: the images have changed" in service.command.err
    finally:
        service.command.killed()
