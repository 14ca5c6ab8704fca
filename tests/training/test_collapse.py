from dataclasses import replace

from anomem.training.collapse import ScaleFigures, told_collapse

ALIVE = ScaleFigures(
    contrast=2.2, chance=4.8, least=0.0, perplexity=12.0, in_use=325, prototypes=512, variance=0.7
)
MEAN_OF_ALL = replace(ALIVE, contrast=4.85, perplexity=511.0, in_use=1, variance=0.0)
ONE_FOR_ALL = replace(ALIVE, contrast=4.8, perplexity=1.0, in_use=2, variance=0.01)
NOT_TOLD = replace(ALIVE, contrast=4.7)


def test_the_sentence_names_the_scale_the_cause_and_the_choice_to_change() -> None:
    assert told_collapse([ALIVE, ALIVE], 400) is None
    assert told_collapse([ALIVE, MEAN_OF_ALL], 400) == (
        "after 400 steps the contrast of scale 2 has collapsed (4.85, by chance 4.80): the memory "
        "recalls the mean of all 512 prototypes, whatever it is asked; raise memory.beta, set "
        'memory.steps to 1 or memory.start to "normals".'
    )
    assert "scale 1" in (told := str(told_collapse([ONE_FOR_ALL], 400)))
    assert "recalls 2 of 512 prototypes" in told and "lower memory.beta" in told
    assert "scale 1 has learnt next to nothing" in (told := str(told_collapse([NOT_TOLD], 400)))
    assert "lower stage1.learning_rate" in told


def test_of_a_training_that_has_hardly_begun_nothing_is_said() -> None:
    assert told_collapse([MEAN_OF_ALL], 99) is None and told_collapse([MEAN_OF_ALL], 100)
    assert told_collapse([], 400) is None


def test_what_is_learnt_lies_between_chance_and_the_least_that_is_possible() -> None:
    assert ALIVE.learnt == (4.8 - 2.2) / 4.8
    one_class = replace(ALIVE, contrast=4.3, least=4.1)  # all normals softly one class
    assert abs(one_class.learnt - 0.5 / 0.7) < 1e-9 and told_collapse([one_class], 400) is None


def test_figures_in_a_line_that_a_person_can_follow() -> None:
    assert str(ALIVE) == (
        "contrast 2.20 (4.80 by chance), 325 of 512 prototypes in use, 12 of them a recollection, "
        "variance 0.7"
    )
    assert "(at least 4.10, 4.80 by chance)" in str(replace(ALIVE, least=4.1))
