"""From scores to decisions: p-values, false alarms, and rules that labels allow."""

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import AnoMem
from anomem.bulk.score_table import score_table
from anomem.decision.threshold import FindLabelled, Promise, threshold_by
from anomem.detector.identity import digests
from anomem.evaluation.evaluate import evaluate
from anomem.images.image_set import tensor_of
from anomem.images.open import open_images
from anomem.images.resize import batch_to_shape

Digits = dict[str, npt.NDArray[np.uint8]]


def test_predict_warns_where_alpha_has_too_few_normals(model: AnoMem, digits: Digits) -> None:
    assert len(model.bank_.held_out) == 19
    with pytest.warns(UserWarning, match="alpha=0.01 needs 99 held-out normals and there are 19"):
        careful = model.predict(digits["normal"], 0.01)
    np.testing.assert_array_equal(careful, model.predict(digits["normal"], 0.05))
    assert set(model.predict(digits["anomalous"]).tolist()) == {0, 1}
    for alpha in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="alpha is"):
            model.predict(digits["normal"], alpha)


def test_p_values_are_small_together_with_the_prediction(model: AnoMem, digits: Digits) -> None:
    both = np.concatenate([digits["normal"], digits["anomalous"]])
    p = model.p_value(both)
    assert p.min() == 1 / 20 and p.max() <= 1
    np.testing.assert_array_equal(model.predict(both, 0.2), p <= 0.2)


def test_a_held_out_image_has_one_verdict_and_p_value(model: AnoMem, digits: Digits) -> None:
    """The one on which the threshold rests too: alone, among others, in a table, and evaluated."""
    known = digests(tensor_of(batch_to_shape(digits["train"][..., None], model.framing_.shape)))
    held_out = digits["train"][torch.isin(known, model.bank_.held_out_digest).numpy()]
    odd = open_images(digits["anomalous"][:5])
    assert len(held_out) == 19
    for rule in (0.05, 0.2, 0.5):
        together, p = model.predict(held_out, rule), model.p_value(held_out)
        alone = np.concatenate([model.predict(image[None], rule) for image in held_out])
        np.testing.assert_array_equal(alone, together)
        np.testing.assert_array_equal([model.p_value(image[None])[0] for image in held_out], p)
        np.testing.assert_array_equal(together, p <= rule)
        # Of 19 held-out normals and one more, this many ranks are called anomalous.
        assert together.sum() == round(20 * rule) - 1
        table = score_table(model, open_images(held_out), rule=str(rule))
        assert table["prediction"].to_pylist() == together.tolist()
        assert table["p_value"].to_pylist() == p.tolist()
        examined = evaluate(model, open_images(held_out), odd, rule=str(rule))
        np.testing.assert_array_equal(examined.called[:19], together == 1)


def test_changing_the_rule_changes_nothing_else(model: AnoMem, digits: Digits) -> None:
    with pytest.raises(ValueError, match="needs labelled anomalies"):
        model.threshold("f1")
    model.adapt(digits["anomalous"][:20], [1] * 20)
    scores = model.decision_function(digits["anomalous"])
    careful, balanced, lax = (
        model.predict(digits["anomalous"], rule) for rule in ("find-labelled", "f1", "cost:1:0.001")
    )
    assert careful.sum() >= balanced.sum() >= lax.sum()
    np.testing.assert_array_equal(model.decision_function(digits["anomalous"]), scores)


@pytest.mark.parametrize("count", [4, 10, 30])
def test_of_anomalies_like_n_labelled_one_in_n_and_one_escapes(
    model: AnoMem, digits: Digits, count: int
) -> None:
    """The mean over 200 draws of which anomalies are labelled and which come later."""
    scores, calibration = model.decision_function(digits["anomalous"]), model.calibration()
    escapes = []
    for draw in range(200):
        labelled, later = np.split(np.random.default_rng(draw).permutation(scores), [count])
        line = threshold_by(FindLabelled(), calibration, partial(np.copy, labelled))
        assert labelled.min() > line
        escapes.append(float((later <= line).mean()))
    error = np.std(escapes) / np.sqrt(len(escapes))
    promised = Promise(anomalies=count, learnt=0, alarms=0, held_out=19).escapes
    assert promised == 1 / (count + 1)
    # Less where the line lies halfway down to a normal.
    assert promised / 5 < np.mean(escapes) < promised + 3 * error


def test_a_promise_counts_what_the_training_has_not_learnt_from(
    model: AnoMem, digits: Digits
) -> None:
    odd = digits["anomalous"][:8]
    assert model.promise("f1") is None and model.promise(0.05) is None
    model.adapt(odd, [1] * 8)
    promise = model.promise("find-labelled")
    assert promise is not None and (promise.anomalies, promise.learnt) == (8, 0)
    alarms = (model.calibration().scores > model.threshold("find-labelled")).sum()
    assert f"{alarms} of 19 held-out normals are called anomalous" in str(promise)
    pixels = model.bank_.labelled.pixels
    model.bank_ = replace(model.bank_, learnt_pixels=pixels[:3])
    assert "of new ones like the 5 labelled since the training up to 1 in 6 is" in str(
        model.promise("find-labelled")
    )
    model.bank_ = replace(model.bank_, learnt_pixels=pixels)
    promise = model.promise("find-labelled")
    assert promise is not None and promise.escapes == 1 and "is not known" in str(promise)
