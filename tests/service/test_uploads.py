import pytest
from serving import Running

pytest.importorskip("skimage", reason="needs anomem[demo]")

from service import asked, mutated


def test_damaged_images_end_in_a_score_or_in_a_line(service: Running) -> None:
    answers = asked(service.address, mutated(200), clients=4)
    assert answers.wrong == []
    assert set(answers.status) == {200, 400} and answers.status.total() == 200
