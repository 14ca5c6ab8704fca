# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A few labels
#
# A detector that has seen normal images alone finds what is unlike them. Once you have found a few
# anomalies yourself, you can tell it: `adapt` learns from their labels in seconds, without the
# earlier images. This notebook measures what the labels are worth, and where they are not.
#
# The images are handwritten digits that ship with scikit-learn. Normal are 0, 1 and 2; every other
# digit is an anomaly. Install what this notebook needs: `pip install 'anomem[demo]'`.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from anomem import AnoMem

pixels, digit = load_digits(return_X_y=True)
images = (pixels.reshape(-1, 8, 8) * 15).astype(np.uint8).repeat(2, 1).repeat(2, 2)
normals = images[digit < 3]
train, normal = normals[:400], normals[400:]
rng = np.random.default_rng(0)
kinds = {number: rng.permutation(images[digit == number]) for number in range(3, 10)}
# The first ten of each kind may be labelled; the others are to test on, and never labelled.
tests = {number: of_kind[10:] for number, of_kind in kinds.items()}

# %% [markdown]
# ## Before any label
#
# The training is cut to 40 steps, so that this notebook takes a minute; so the detector is far from
# as good as it can be, as one is on a hard task.

# %%
detector = AnoMem("scratch", device="cpu").set_params(
    config__stage1__min_steps=40, config__stage1__max_steps=40
)
detector.fit(train)


def auroc_by_kind():
    """AUROC of each digit against the normal test images."""
    usual = detector.decision_function(normal)
    found = {}
    for number, anomalous in tests.items():
        scores = np.concatenate([usual, detector.decision_function(anomalous)])
        found[number] = roc_auc_score([0] * len(usual) + [1] * len(anomalous), scores)
    return found


before = auroc_by_kind()
print("no label:", ", ".join(f"digit {number} {value:.2f}" for number, value in before.items()))
print(f"mean {np.mean(list(before.values())):.3f}")

# %% [markdown]
# ## One label of each kind, then more
#
# Labels add up: each call of `adapt` learns from these images together with all that were labelled
# before. We go to 1, 3 and 10 labels of each kind, and measure on images that have no label.

# %%
counts, curve = [0], [before]
for first, last in ((0, 1), (1, 3), (3, 10)):
    labelled = np.concatenate([of_kind[first:last] for of_kind in kinds.values()])
    begun = time.perf_counter()
    detector.adapt(labelled, [1] * len(labelled))
    curve.append(auroc_by_kind())
    counts.append(last)
    mean = np.mean(list(curve[-1].values()))
    print(f"{last} labels of each kind: mean {mean:.3f} ({time.perf_counter() - begun:.1f} s)")

means = [np.mean(list(of_kind.values())) for of_kind in curve]
assert means[-1] > means[0] + 0.02

figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
for number in kinds:
    axis.plot(counts, [found[number] for found in curve], alpha=0.5, label=f"digit {number}")
axis.plot(counts, means, color="black", linewidth=2.5, marker="o", label="mean")
axis.set(xlabel="labels of each kind", ylabel="AUROC on images without a label")
axis.legend(ncols=2, fontsize=8)
plt.show()

# %% [markdown]
# ## Labels are of the kinds that they are of
#
# Now we take all labels back, and label ten images of one kind alone: the one that was found worst.
# Taking back is exact: the detector is then the one it was before any label.

# %%
everything = np.concatenate([of_kind[:10] for of_kind in kinds.values()])
detector.forget(everything)
assert auroc_by_kind() == before

worst = min(before, key=before.get)
detector.adapt(kinds[worst][:10], [1] * 10)
after = auroc_by_kind()
gained = {number: after[number] - before[number] for number in before}
others = np.mean([gain for number, gain in gained.items() if number != worst])
print(f"ten labels of digit {worst}: its AUROC changes by {gained[worst]:+.3f}, ", end="")
print(f"that of the other kinds by {others:+.3f} on average")
assert gained[worst] > others

figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
colours = ["tab:orange" if number == worst else "tab:blue" for number in gained]
axis.bar([str(number) for number in gained], list(gained.values()), color=colours)
axis.axhline(0, color="black", linewidth=0.8)
axis.set(xlabel=f"digit (all ten labels are of digit {worst})", ylabel="change of AUROC")
plt.show()

# %% [markdown]
# So: label what you miss, of each kind that matters. A label hardly harms other kinds, and hardly
# helps them. On the command line this is `anomem adapt model --anomalies found/ --out model`, or
# `anomem label model incoming/`, which shows you the images that tell most.
