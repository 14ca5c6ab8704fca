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
# # A first detector
#
# You have images of what is normal, and you want to know which new images are not. Here the normal
# is a brick wall: a photograph that ships with scikit-image. We cut it into 64 squares that share
# no pixel, learn from 44 of them, and keep 20 to test on. No anomaly is shown to the detector.
#
# Install what this notebook needs: `pip install 'anomem[demo,pretrained]'`. It runs in half a
# minute on one core.

# %%
import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from sklearn.metrics import roc_auc_score

from anomem import AnoMem

SIDE = 64


def squares(photograph):
    """Cut a photograph of 512 x 512 pixels into 64 squares that share no pixel."""
    cells = photograph.reshape(8, SIDE, 8, SIDE).swapaxes(1, 2)
    return cells.reshape(-1, SIDE, SIDE)


rng = np.random.default_rng(0)
bricks = rng.permutation(squares(data.brick()))
train, normal = bricks[:44], bricks[44:]

# %% [markdown]
# ## Anomalies to test on
#
# An anomaly is a test square with a round patch of grass in it, 20 pixels wide. The patch has the
# mean brightness and the contrast of the bricks, so that brightness does not give it away.

# %%
grass = squares(data.grass())[:20].astype(float)
grass = (grass - grass.mean()) / grass.std() * bricks.std() + bricks.mean()
rows, columns = np.mgrid[:SIDE, :SIDE]
anomalous, masks = [], []
for brick, patch in zip(normal, grass, strict=True):
    row, column = rng.integers(14, SIDE - 14, size=2)
    mask = np.hypot(rows - row, columns - column) < 10
    anomalous.append(np.where(mask, patch, brick).clip(0, 255).astype(np.uint8))
    masks.append(mask)
anomalous = np.stack(anomalous)

figure, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for axis, image in zip(axes.flat, [*normal[:6], *anomalous[:6]], strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()
figure.suptitle("Normal squares, and below the same with a patch of grass")
plt.show()

# %% [markdown]
# ## Fit
#
# The preset `pretrained` compares places of an image with places of the normal images, in the
# features of a network that was trained on ImageNet. Nothing is trained here, so a fit takes
# seconds. (From 20 pixels on it is what the detector chooses by itself where the weights are.)

# %%
detector = AnoMem("pretrained", device="cpu").fit(train)

# %% [markdown]
# ## Score
#
# A score is in standard deviations of normal images: about 0 for a usual one, and higher for an
# anomalous one. AUROC is the share of pairs, one anomaly and one normal image, in which the anomaly
# has the higher score: 1 is perfect, 0.5 is chance.

# %%
of_normal = detector.decision_function(normal)
of_anomalous = detector.decision_function(anomalous)
truth = [0] * len(normal) + [1] * len(anomalous)
auroc = roc_auc_score(truth, np.concatenate([of_normal, of_anomalous]))
print(f"median score of normal squares {np.median(of_normal):.1f}, ", end="")
print(f"of anomalous ones {np.median(of_anomalous):.1f}; AUROC {auroc:.3f}")
assert auroc > 0.95

# %% [markdown]
# ## Decide
#
# You choose which share of normal images may be called anomalous; the detector sets the threshold
# for it. One tenth is a coarse choice because 44 normal images support no much finer one.

# %%
threshold = detector.threshold(0.1)
found = detector.predict(anomalous, rule=0.1)
alarms = detector.predict(normal, rule=0.1)
print(f"threshold {threshold:.2f}: {found.sum()} of {len(found)} anomalies are found, ", end="")
print(f"{alarms.sum()} of {len(alarms)} normal squares are called anomalous")
assert found.mean() >= 0.9
assert alarms.mean() <= 0.25

figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
bins = np.linspace(min(of_normal.min(), 0), of_anomalous.max(), 40)
axis.hist(of_normal, bins, label="normal", alpha=0.7)
axis.hist(of_anomalous, bins, label="with grass", alpha=0.7)
axis.axvline(threshold, color="black", linestyle="--", label="threshold")
axis.set(xlabel="score", ylabel="squares")
axis.legend()
plt.show()

# %% [markdown]
# ## Look
#
# A heat map says where an image is unusual, in the same unit. It is worth a look even where the
# score is right: it shows whether the detector is right for the right reason. Here we measure it:
# the hottest place of each anomaly should lie in its patch of grass, or at most 8 pixels from it.

# %%
heats = list(detector.heat_maps(anomalous))
hits = []
for heat, mask in zip(heats, masks, strict=True):
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    hits.append(np.hypot(rows - row, columns - column)[mask].min() <= 8)
print(f"the hottest place is in the patch, or beside it, in {sum(hits)} of {len(hits)} anomalies")
assert np.mean(hits) >= 0.8

figure, axes = plt.subplots(3, 6, figsize=(9, 4.6), layout="constrained")
for image, heat, mask, column in zip(anomalous, heats, masks, axes.T, strict=False):
    column[0].imshow(image, cmap="gray", vmin=0, vmax=255)
    shown = column[1].imshow(heat, cmap="inferno", vmin=0, vmax=max(6, heats[0].max()))
    column[2].imshow(mask, cmap="gray")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
for axis, name in zip(axes[:, 0], ("image", "heat map", "truth"), strict=True):
    axis.set_ylabel(name)
figure.colorbar(shown, ax=axes, label="standard deviations of normals", shrink=0.6)
plt.show()

# %% [markdown]
# ## Keep
#
# `detector.save("bricks")` writes a folder, and `anomem.load("bricks")` reads it on another
# machine. On the command line all of this is `anomem fit good/ --out bricks` and
# `anomem score bricks new/ --out scores.csv --heatmaps heat/`.
