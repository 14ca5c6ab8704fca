from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from anomem.detector.feature_bank import FeatureBank, LabelledFeatures
from anomem.model.features import Features


def measured(count: int, first: int = 0) -> Features:
    """Images that are told apart by their first score."""
    scores = torch.arange(first, first + count).float().unsqueeze(1).repeat(1, 2)
    return Features(scores, scores[:, :1].repeat(1, 5), -scores, scores[:, 0])


def labelled(digest: list[int], label: list[int], first: int = 0) -> LabelledFeatures:
    return LabelledFeatures(
        measured(len(digest), first),
        torch.tensor(label, dtype=torch.int64),
        torch.tensor(digest, dtype=torch.int64),
        torch.tensor(digest, dtype=torch.int64),
        torch.tensor([d for d, t in zip(digest, label, strict=True) if t == 0]).half()[
            :, None, None
        ],
    )


def reserve_of() -> FeatureBank:
    return FeatureBank(
        normals=measured(8),
        held_out=measured(5, 10),
        held_out_image=torch.tensor([0, 1, 1, 2, 3]),
        held_out_digest=torch.arange(4),
        held_out_group=torch.tensor([0, 0, 1, 2]),
        held_out_kind=torch.zeros(4, dtype=torch.int64),
        held_out_aside=torch.tensor([False, False, True, False]),
        held_out_in_turn=torch.tensor([False, True, True, False]),
        held_out_odd=torch.tensor([False, False, False, False]),
        held_out_name=("a.png", "ü.png", "\udcff.png", "b.png"),
        trained_digest=torch.arange(50, 58),
        labelled=labelled([5, -6], [1, 0], 20),
        learnt_pixels=torch.tensor([5, 77]),
        place_share=torch.tensor(0.25),
    )


def rows(of: Features) -> list[float]:
    return of.scores[:, 0].tolist()


label_lists = st.lists(st.tuples(st.integers(-5, 5), st.sampled_from([-1, 0, 1])), max_size=12)


@given(rounds=st.lists(label_lists, max_size=4))
@settings(deadline=None)
def test_newest_label_of_each_image_counts(rounds: list[list[tuple[int, int]]]) -> None:
    kept = labelled([], [])
    expected: dict[int, tuple[int, float]] = {}
    for number, batch in enumerate(rounds):
        newer = labelled([d for d, _ in batch], [t for _, t in batch], first=100 * number)
        kept = kept.updated(newer)
        for position, (digest, label) in enumerate(batch):
            expected.pop(digest, None)
            if label != -1:
                expected[digest] = (label, 100.0 * number + position)
    found = zip(kept.digest.tolist(), kept.label.tolist(), rows(kept.features), strict=True)
    assert {digest: (label, row) for digest, label, row in found} == expected
    assert len(kept) == len(kept.features) == len(expected)
    normal = [digest for digest, (label, _) in expected.items() if label == 0]
    assert kept.places.flatten().tolist() == [d for d in kept.digest.tolist() if d in normal]
    assert kept.at(kept.label == 0).places.flatten().tolist() == kept.places.flatten().tolist()


def test_label_is_taken_back() -> None:
    kept = labelled([1, 2, 3], [1, 1, 0]).updated(labelled([2, 9], [-1, -1], 50))
    assert kept.digest.tolist() == [1, 3] and kept.label.tolist() == [1, 0]


def test_reserve_comes_back_from_its_tensors() -> None:
    bank = reserve_of()
    tensors = bank.tensors()
    assert len(tensors) == 27
    again = FeatureBank.of(tensors).tensors()
    assert FeatureBank.of(tensors).held_out_name == bank.held_out_name
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(again[name], tensor) and again[name].dtype == tensor.dtype


def test_places_are_of_the_labelled_normals() -> None:
    tensors = reserve_of().tensors()
    with pytest.raises(ValueError, match="places of labelled normals are of other images"):
        FeatureBank.of(tensors | {"labelled.places": torch.zeros(2, 1, 1).half()})


@pytest.mark.parametrize("name", ["normals.scores", "labelled.digest"])
def test_missing_tensor_is_named(name: str) -> None:
    tensors: dict[str, Tensor] = reserve_of().tensors()
    del tensors[name]
    with pytest.raises(KeyError, match=name):
        FeatureBank.of(tensors)


def test_held_out_images_are_known_by_their_labels() -> None:
    bank = replace(reserve_of(), held_out_digest=torch.arange(100, 104))
    assert bank.held_out_label().tolist() == [-1] * 4
    given = bank.with_labels(labelled([101, 7, 103], [1, 1, 0]))
    assert given.held_out_label().tolist() == [-1, 1, -1, 0]


def test_other_labels_leave_the_rest() -> None:
    bank = reserve_of()
    relabelled = bank.with_labels(labelled([], []))
    assert len(relabelled.labelled) == 0 and len(bank.labelled) == 2
    assert relabelled.normals is bank.normals


def test_new_normals_stand_beside_the_old() -> None:
    old = reserve_of()
    newer = replace(old, normals=measured(8, 100), held_out=measured(5, 110))
    both = old.extended(newer)
    assert rows(both.normals) == rows(old.normals) + rows(newer.normals)
    assert both.held_out_image.tolist() == [0, 1, 1, 2, 3, 4, 5, 5, 6, 7]
    assert both.held_out_group.tolist() == [0, 0, 1, 2, 3, 3, 4, 5]
    assert both.held_out_kind.tolist() == [0] * 4 + [1] * 4
    assert both.held_out_name == old.held_out_name * 2
    assert len(both.held_out_digest) == 8 and rows(both.held_out)[5:] == rows(newer.held_out)
    assert both.labelled is old.labelled and both.learnt_pixels is old.learnt_pixels
    many = replace(old, normals=measured(1000)).extended(newer)
    assert len(many.normals) == 1000 and rows(many.normals)[-1] == 107


def test_what_stage_1_learnt_from_is_told_of_each_label() -> None:
    bank = reserve_of()
    assert bank.learnt().tolist() == [True, False]
    taken_back = bank.with_labels(labelled([9, 8], [1, 1]))
    assert taken_back.learnt().tolist() == [False, False]
    again = bank.with_labels(labelled([9, 5, 77], [1, 1, 0]))
    assert again.learnt().tolist() == [False, True, False]


def test_images_measured_anew_keep_what_is_known_of_them() -> None:
    old = reserve_of()
    fresh = replace(
        old,
        held_out_digest=torch.tensor([3, 1, 2]),
        held_out_group=torch.arange(3),
        held_out_kind=torch.tensor([5, 5, 5]),
        held_out_aside=torch.zeros(3, dtype=torch.bool),
        held_out_in_turn=torch.zeros(3, dtype=torch.bool),
        held_out_odd=torch.zeros(3, dtype=torch.bool),
        held_out_name=("", "", ""),
    )
    again = old.recognised(fresh)
    assert again.held_out_name == ("b.png", "ü.png", "\udcff.png")
    assert again.held_out_aside.tolist() == [False, False, True]
    assert again.held_out_group.tolist() == [2, 0, 1]


def test_normals_held_out_in_turn_teach_unless_they_are_anomalies_or_judged() -> None:
    """Of the five frames held out, those of the second image (two) and of the third are in turn."""
    bank, trained = reserve_of(), [*range(8)]
    assert rows(bank.teaching_normals()) == [*trained, 11, 12, 13]
    assert rows(bank.untaught_by(torch.tensor([1])).teaching_normals()) == [*trained, 13]
    found = bank.with_labels(labelled([2, 1], [1, 0]))
    assert rows(found.teaching_normals()) == [*trained, 11, 12]
    judged = found.untaught_by(torch.tensor([1]))
    assert rows(judged.teaching_normals()) == trained and judged.labelled.label.tolist() == [1]
