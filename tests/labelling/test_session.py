import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomem import AnoMem, Config
from anomem.config import MemoryChoices
from anomem.detector.estimator import load_trained
from anomem.labelling.answers import AnswerFile
from anomem.labelling.order import most_telling_first
from anomem.labelling.session import Session


@pytest.fixture
def session(model: AnoMem, unlabelled: Path, tmp_path: Path) -> Session:
    files = [*sorted(unlabelled.iterdir()), tmp_path / "broken.png"]
    files[-1].write_bytes(b"no image")
    answers = AnswerFile(tmp_path / "labels.csv")
    return Session(model, files, answers, out=tmp_path / "adapted", rule="0.1")


def strange(session: Session, index: int) -> bool:
    return session.files[index].name.startswith("anomalous")


def test_scores_are_those_of_the_detector(session: Session) -> None:
    expected = session.model.decision_function([str(file) for file in session.files])
    np.testing.assert_allclose(session.score, expected, atol=1e-4)
    assert len(session.files) == 50
    assert len(session.errors) == 1 and "broken.png" in session.errors[0]


def test_the_most_anomalous_comes_first_and_an_answered_one_no_more(session: Session) -> None:
    first = session.standing()
    assert first.next is not None
    assert first.next == session.score.argmax() and strange(session, first.next)
    assert (first.left, first.last) == (50, None)
    session.answer(first.next, "anomalous")
    second = session.standing()
    assert second.next == most_telling_first(session.score, session.threshold)[1]
    assert (second.left, second.anomalous, second.last) == (49, 1, first.next)
    session.answer(first.next, "undone")
    assert session.standing() == first


def test_what_is_left_is_estimated(session: Session) -> None:
    low, high = session.standing().anomalies_left
    assert low < 20 and high > 10, "ten are; test_order.py says how often the range holds them"
    for index in range(50):
        if strange(session, index):
            session.answer(index, "anomalous")
    after = session.standing().anomalies_left
    assert after[0] <= low and after[1] <= high - 9, "ten fewer, up to rounding"


def test_it_learns_from_the_answers_and_takes_back_what_is_undone(
    session: Session, model_folder: Path
) -> None:
    with pytest.raises(ValueError, match="no label to learn from yet"):
        session.adapt()
    before = session.score.copy()
    found = [index for index in range(50) if strange(session, index)][:5]
    for index in found:
        session.answer(index, "anomalous")
    session.adapt()
    assert (session.score[found] > before[found]).all()
    assert load_trained(session.out).bank_.labelled.label.tolist() == [1] * 5
    for index in found:
        session.answer(index, "undone")
    normal = next(index for index in range(50) if not strange(session, index))
    session.answer(normal, "normal")
    session.adapt()
    assert load_trained(session.out).bank_.labelled.label.tolist() == [0]
    fresh = load_trained(model_folder, device="cpu").adapt([session.files[normal]], [0])
    np.testing.assert_allclose(session.score, fresh.decision_function(session.files), atol=1e-4)


def test_images_are_ranked_as_memories_recall_places_of_those_answered_normal(
    hasty: Config, folders: dict[str, Path], unlabelled: Path, tmp_path: Path
) -> None:
    """One that is gone meanwhile keeps its place in the order."""
    places = MemoryChoices(prototypes="places", sizes=(64, 32))
    frozen = replace(hasty, encoder=replace(hasty.encoder, frozen=True), memory=places)
    model = AnoMem(frozen, device="cpu").fit(folders["train"])
    files = [Path(shutil.copy(file, tmp_path)) for file in sorted(unlabelled.iterdir())]
    session = Session(
        model, files, AnswerFile(tmp_path / "labels.csv"), out=tmp_path / "adapted", rule="0.1"
    )
    before = session.score.copy()
    session.answer(int(before.argmax()), "normal")
    gone = int(before.argmin())
    files[gone].unlink()
    session.adapt()
    left = np.delete(np.arange(50), gone)
    expected = session.model.decision_function([files[index] for index in left])
    assert np.array_equal(session.score[left], expected)
    assert session.score[before.argmax()] < before.max() and session.score[gone] == before[gone]


def test_labelled_images_that_are_gone_or_spoilt_do_not_block_the_others(session: Session) -> None:
    found = [index for index in range(50) if strange(session, index)][:5]
    for index in found:
        session.answer(index, "anomalous")
    session.files[found[1]].unlink()
    session.files[found[3]].write_bytes(b"no image")
    errors = session.adapt()
    assert len(errors) == 2 and "there is no such file" in errors[0] and "not an image" in errors[1]
    assert load_trained(session.out).bank_.labelled.label.tolist() == [1] * 3
    for index in found:
        session.files[index].unlink(missing_ok=True)
    with pytest.raises(ValueError, match="5 of 5 images cannot be read"):
        session.adapt()


def test_a_key_among_300_000_answers_takes_no_time(session: Session) -> None:
    rows = "".join(f"gone/part-{i}.png,normal,2026-01-01\n" for i in range(300_000))
    session.answers.file.write_text("image,answer,time\n" + rows)
    session.standing()
    start = time.perf_counter()
    session.answer(7, "anomalous")
    now = session.standing()
    assert time.perf_counter() - start < 0.8
    assert (now.last, now.anomalous, now.normal, now.left) == (7, 1, 0, 49)


def test_nothing_to_read_is_told(model: AnoMem, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        Session(model, [tmp_path / "broken.png"], AnswerFile(tmp_path / "labels.csv"),
                out=tmp_path, rule="0.1")  # fmt: skip
