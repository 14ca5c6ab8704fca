from dataclasses import replace

import pytest

from anomem.config import MemoryChoices
from anomem.training.collapse import ScaleFigures, told_collapse

ALIVE = ScaleFigures(
    contrast=2.2, chance=4.8, least=0.0, perplexity=12.0, in_use=325, prototypes=512, variance=0.7
)
MEAN_OF_ALL = replace(ALIVE, contrast=4.85, perplexity=511.0, in_use=1, variance=0.0)
ONE_FOR_ALL = replace(ALIVE, contrast=4.8, perplexity=1.0, in_use=2, variance=0.01)
NOT_TOLD = replace(ALIVE, contrast=4.7)
BEGUN = MemoryChoices(beta=10.0, start="normals")


def test_the_sentence_names_the_scale_the_cause_and_the_choice_to_change() -> None:
    assert told_collapse([ALIVE, ALIVE], 400, BEGUN) is None
    assert told_collapse([ALIVE, MEAN_OF_ALL], 400, BEGUN) == (
        "after 400 steps the contrast of scale 2 has collapsed (4.85, by chance 4.80): the memory "
        "recalls the mean of all 512 prototypes, whatever it is asked; raise memory.beta from 10."
    )
    told = str(told_collapse([ONE_FOR_ALL], 400, BEGUN))
    assert "scale 1" in told and "recalls 2 of 512 prototypes" in told
    assert told.endswith("; lower memory.beta from 10.")
    told = str(told_collapse([NOT_TOLD], 500, BEGUN))
    assert "scale 1 has learnt next to nothing" in told and "lower stage1.learning_rate" in told


@pytest.mark.parametrize(
    ("memory", "advice"),
    [
        (replace(BEGUN, start="gaussian"), 'from 10 or set memory.start to "normals".'),
        (replace(BEGUN, steps=3), "from 10 or set memory.steps to 1."),
        (replace(BEGUN, unit_norm=False), 'memory.steps 1 and memory.start "normals".'),
    ],
)
def test_no_choice_is_advised_that_is_made_already(memory: MemoryChoices, advice: str) -> None:
    for dead in (MEAN_OF_ALL, ONE_FOR_ALL):
        assert str(told_collapse([dead], 400, memory)).endswith(advice)


def test_of_a_training_that_has_hardly_begun_nothing_is_said() -> None:
    assert told_collapse([MEAN_OF_ALL], 99, BEGUN) is None
    assert told_collapse([MEAN_OF_ALL], 100, BEGUN)
    assert told_collapse([], 400, BEGUN) is None


def test_a_slow_start_is_no_collapse() -> None:
    assert told_collapse([NOT_TOLD], 499, BEGUN) is None
    assert "train for longer" in str(told_collapse([NOT_TOLD], 500, BEGUN))
    told = told_collapse([NOT_TOLD, ONE_FOR_ALL], 499, BEGUN)
    assert told and "scale 2" in told


def test_anomalies_that_are_told_apart_do_not_hide_that_normals_are_not() -> None:
    told = told_collapse([replace(MEAN_OF_ALL, contrast=3.8)], 400, BEGUN)
    assert told and "the mean of all 512" in told


def test_of_one_class_with_hardly_anything_to_tell_it_from_nothing_is_said() -> None:
    alone = replace(ALIVE, contrast=4.82, least=4.8)  # chance and least are the same
    assert told_collapse([alone, replace(alone, least=4.75)], 400, BEGUN) is None


def test_a_network_without_memory_is_not_said_to_recall_anything() -> None:
    none = replace(NOT_TOLD, perplexity=1.0, in_use=1, prototypes=1)
    assert "has learnt next to nothing" in str(told_collapse([none], 500, BEGUN))


def test_what_is_learnt_lies_between_chance_and_the_least_that_is_possible() -> None:
    assert ALIVE.learnt == (4.8 - 2.2) / 4.8
    one_class = replace(ALIVE, contrast=4.3, least=4.1)  # all normals softly one class
    assert (
        abs(one_class.learnt - 0.5 / 0.7) < 1e-9 and told_collapse([one_class], 400, BEGUN) is None
    )


def test_figures_in_a_line_that_a_person_can_follow() -> None:
    assert str(ALIVE) == (
        "contrast 2.20 (4.80 by chance), 325 of 512 prototypes in use, 12 share a recollection, "
        "variance 0.7"
    )
    assert "(at least 4.10, 4.80 by chance)" in str(replace(ALIVE, least=4.1))
