"""The protocol as a client speaks it that is not ours."""

from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pytest
from serving import Running, png
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from anomem import AnoMem

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture
def client(service: Running) -> InferenceServerClient:
    return InferenceServerClient(urlsplit(service.address).netloc)


def test_a_client_finds_the_service_and_its_model(client: InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("zeros")
    assert not client.is_model_ready("ones")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    about = client.get_model_metadata("zeros")
    assert about["name"] == "zeros" and [each["name"] for each in about["inputs"]] == [
        *("image", "pixels")
    ]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("kind", ["image", "pixels"])
def test_scores_are_those_of_the_model(
    client: InferenceServerClient, model: AnoMem, digits: Digits, kind: str, binary: bool
) -> None:
    images = digits["anomalous"][:3]
    if kind == "pixels":
        sent = InferInput(kind, [3, 16, 16, 1], "UINT8")
        sent.set_data_from_numpy(images[..., None], binary_data=binary)
    else:
        if not binary:
            pytest.skip("the client writes no bytes in JSON that are not text")
        sent = InferInput(kind, [3], "BYTES")
        sent.set_data_from_numpy(np.array([png(image) for image in images], dtype=object))
    names = ("pred_score", "pred_label", "p_value", "anomaly_map")
    wanted = [InferRequestedOutput(name, binary_data=binary) for name in names]
    answer = client.infer("zeros", [sent], outputs=wanted, request_id="7")
    assert answer.get_response()["id"] == "7"
    for name, expected in (
        ("pred_score", model.decision_function(images)),
        ("pred_label", model.predict(images)),
        ("p_value", model.p_value(images)),
        ("anomaly_map", np.stack(list(model.heat_maps(images)))),
    ):
        np.testing.assert_array_equal(answer.as_numpy(name), expected)
    assert set(client.infer("zeros", [sent]).get_response()["outputs"][0]) >= {"name", "shape"}


@pytest.mark.parametrize(
    ("name", "shape", "kind", "data", "told"),
    [
        ("picture", [1], "BYTES", ["x"], "there is no input 'picture'; there is image and pixels"),
        ("image", [1], "BYTES", ["no base64"], "image holds no files; in JSON they are written in"),
        ("image", [2], "BYTES", ["aGVsbG8="], "image has 1 files and its shape says 2"),
        ("image", [1], "BYTES", ["aGVsbG8="], "image 0: not an image of a known format"),
        ("pixels", [1, 2, 2, 1], "UINT8", [1, 2, 3], "pixels has 3 values and its shape says 4"),
        ("pixels", [1, 2, 2, 1], "UINT8", [1, 2, 3, 256], "pixels does not hold numbers of UINT8"),
        ("pixels", [1, 2, 2, 1], "FP32", [1, 2, 3, 4], "pixels is of datatype UINT8 or UINT16"),
        ("pixels", [65, 1, 1, 1], "UINT8", [], "pixels has 65 images; send from 1 to 64"),
        ("pixels", [1, 1, 2**40, 1], "UINT8", [1], "pixels: 1099511627776 x 1 pixels have a side"),
    ],
)
def test_what_is_no_such_tensor_is_told_in_a_line(
    service: Running, name: str, shape: list[int], kind: str, data: list[object], told: str
) -> None:
    tensor = {"name": name, "shape": shape, "datatype": kind, "data": data}
    status, answer, _ = service.ask_json("v2/models/zeros/infer", {"inputs": [tensor]})
    assert status == 400 and told in answer["error"]


def test_what_is_no_such_request_is_told_in_a_line(service: Running) -> None:
    for body, told in (
        (b"", "Invalid JSON"),
        (b"[" * 10**5, "Invalid JSON"),
        (b'{"inputs": []}', "inputs: List should have at least 1 item"),
        (b'{"inputs": [{"name": "image"}]}', "inputs.0.datatype: Field required"),
    ):
        status, answer, _ = service.ask("v2/models/zeros/infer", body)
        assert status == 400 and told in answer["error"]
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["aGVsbG8="]}
    _, answer, _ = service.ask_json("v2/models/zeros/infer", {"id": "7", "inputs": [tensor]})
    assert answer["error"].startswith("7 0: not an image")
    status, answer, _ = service.ask("v2/models/ones/infer", b"{}")
    assert (status, answer["error"]) == (404, "There is no model 'ones'; there is zeros.")
    head = {"Inference_Header_Content_Length": "-3"}
    assert service.ask("v2/models/zeros/infer", b"{}", **head)[0] == 400
