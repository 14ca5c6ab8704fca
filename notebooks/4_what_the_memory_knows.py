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
# # What the memory knows
#
# A detector of the preset `pretrained` is a memory of places: patches of the normal images, chosen
# so that every other patch is near one of them. An image is as anomalous as its places are far from
# all of these. So one can ask the memory what it would have expected, and one can see what it does
# not know.
#
# The images are photographs that ship with scikit-image. Install what this notebook needs:
# `pip install 'anomem[demo,pretrained]'`.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image
from skimage import data
from sklearn.metrics import roc_auc_score

from anomem import AnoMem

SIDE = 64


def squares(photograph):
    """Cut a photograph of 512 x 512 pixels into 64 squares that share no pixel."""
    cells = photograph.reshape(8, SIDE, 8, SIDE).swapaxes(1, 2)
    return np.random.default_rng(0).permutation(cells.reshape(-1, SIDE, SIDE))


bricks, gravel, grass = squares(data.brick()), squares(data.gravel()), squares(data.grass())
train, normal = bricks[:30], bricks[44:]
# As files, so that the memory can show the training images that it speaks of.
folder = Path(tempfile.mkdtemp())
for number, image in enumerate(train):
    Image.fromarray(image).save(folder / f"brick-{number:02}.png")


def new_detector():
    """A detector with a quarter of the usual memory, so that this notebook takes a minute."""
    return AnoMem("pretrained", device="cpu").set_params(config__memory__sizes=(1024, 1024))


detector = new_detector().fit(folder)
for number, memory in enumerate(detector.network_.memories, start=1):
    print(f"scale {number}: the memory keeps {len(memory.prototypes)} places")

# %% [markdown]
# ## What it would have expected
#
# A square of brick with a corner of gravel. `explain` names the places on which the score rests
# and, for each, the place of a training image that is most like it: the best that the memory can
# offer in its stead.

# %%
odd = normal[6].copy()
odd[36:, 36:] = gravel[0][36:, 36:]
explanation = detector.explain(odd)
print(f"score {explanation.score:.1f}, threshold {detector.threshold(0.1):.1f}")
for place in explanation.odd:
    print(str(place).replace(f"{folder}/", ""))

found = explanation.odd[0]
assert explanation.score > detector.threshold(0.1)
assert found.box.top + found.box.height > 36
assert found.box.left + found.box.width > 36
assert found.distance > 1

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
axes[0].imshow(odd, cmap="gray", vmin=0, vmax=255)
axes[0].set_title("a corner of gravel")
axes[1].imshow(explanation.heat, cmap="inferno", vmin=0)
axes[1].set_title("where it is unusual")
axes[2].imshow(found.normal_image, cmap="gray", vmin=0, vmax=255)
axes[2].set_title(f"most like it: {Path(found.origin.image).name}")
for axis, box in ((axes[0], found.box), (axes[2], found.normal_box)):
    outline = Rectangle((box.left, box.top), box.width, box.height, fill=False)
    outline.set(edgecolor="tab:orange", linewidth=3)
    axis.add_patch(outline)
for axis in axes:
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ## What it does not know, and can be told
#
# Gravel is anomalous to it, because no brick looks so. Say that gravel becomes a
# legitimate product: `extend` adds its places to the memory, without any image of brick. Grass
# stays what it was.

# %%
new_gravel = gravel[44:]
known = {"brick": normal, "gravel": new_gravel, "grass": grass[:20]}
before = {name: detector.decision_function(images) for name, images in known.items()}
detector.extend(gravel[:30])
after = {name: detector.decision_function(images) for name, images in known.items()}
for name in known:
    print(f"{name}: median score {np.median(before[name]):.1f}, ", end="")
    print(f"with gravel known {np.median(after[name]):.1f}")
usual = np.concatenate([after["brick"], after["gravel"]])
truth = [0] * len(usual) + [1] * len(after["grass"])
auroc = roc_auc_score(truth, np.concatenate([usual, after["grass"]]))
print(f"AUROC of grass against brick and gravel: {auroc:.3f}")
assert np.median(after["gravel"]) < np.median(before["gravel"]) / 2
assert auroc > 0.95

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
for axis, scores, title in zip(
    axes, (before, after), ("brick is known", "brick and gravel are known"), strict=True
):
    axis.boxplot(list(scores.values()), tick_labels=list(scores))
    axis.set_title(title)
axes[0].set_ylabel("score")
plt.show()

# %% [markdown]
# ## What it should not know
#
# Every place of a normal image may be remembered, so also that of an anomaly that slipped among the
# normals. Here one square of gravel is among 30 of brick. Other squares of gravel then score lower,
# as their like is known. The slipped image is the oddest of the normals, and labelling it as an
# anomaly takes its places out of the memory.


# %%
def median_of_gravel():
    """The median score of new squares of gravel; that of brick is about 0."""
    return np.median(spoilt.decision_function(new_gravel))


mixed = np.concatenate([train, gravel[:1]])
spoilt = new_detector().fit(mixed)
with_it = median_of_gravel()
spoilt.adapt(gravel[:1], [1])
without = median_of_gravel()
clean = np.median(before["gravel"])
print(f"median score of gravel: {clean:.1f} from clean normals, {with_it:.1f} with one slipped in,")
print(f"and {without:.1f} once that one is labelled an anomaly")
assert with_it < clean
assert without > with_it
