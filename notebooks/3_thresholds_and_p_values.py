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
# # Thresholds and p-values
#
# A score orders images. To act on it you need a threshold, and a threshold is a choice about false
# alarms and misses. This notebook shows what the detector promises of that choice, whether it keeps
# the promise, and what labelled anomalies add.
#
# The images are handwritten digits that ship with scikit-learn; normal are 0, 1 and 2. Install what
# this notebook needs: `pip install 'anomem[demo]'`.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import binom
from sklearn.datasets import load_digits

from anomem import AnoMem
from anomem.decision.expected_alarms import expected_at

pixels, digit = load_digits(return_X_y=True)
images = (pixels.reshape(-1, 8, 8) * 15).astype(np.uint8).repeat(2, 1).repeat(2, 2)
rng = np.random.default_rng(0)
normals = rng.permutation(images[digit < 3])
anomalies = rng.permutation(images[digit > 2])
train, normal = normals[:337], normals[337:]
labelled, anomalous = anomalies[:20], anomalies[20:420]

# %% [markdown]
# ## Normals that are held out
#
# A detector scores the images that it has learnt from too low. So `fit` holds some normals out, and
# decisions rest on them alone: here a third of 337. (The training is cut to 40 steps, so that this
# notebook takes half a minute.)

# %%
detector = AnoMem("scratch", device="cpu").set_params(
    config__stage1__min_steps=40, config__stage1__max_steps=40, config__calibration__share=0.333
)
detector.fit(train)
held_out = len(detector.calibration())
print(f"{held_out} of {len(train)} normals are held out")

# %% [markdown]
# ## A p-value
#
# The p-value of an image is the share of normals that score as high as it does. If the image is
# normal, it is below 0.05 at most five times in a hundred, whatever the scores look like. Were it
# exactly so, the p-values of normal images would be spread evenly between 0 and 1.

# %%
of_normal, of_anomalous = detector.p_value(normal), detector.p_value(anomalous)
print(f"p-value below 0.05: {np.mean(of_normal <= 0.05):.1%} of new normal images, ", end="")
print(f"{np.mean(of_anomalous <= 0.05):.1%} of anomalies")
print(f"smallest p-value that {held_out} held-out normals allow: {1 / (held_out + 1):.4f}")
assert min(of_normal.min(), of_anomalous.min()) >= 1 / (held_out + 1) - 1e-9

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharex=True)
bins = np.linspace(0, 1, 21)
for axis, values, name in zip(
    axes, (of_normal, of_anomalous), ("new normal images", "anomalies"), strict=True
):
    axis.hist(values, bins, color="tab:blue" if axis is axes[0] else "tab:orange")
    axis.axhline(len(values) / 20, color="black", linestyle="--", label="evenly spread")
    axis.set(xlabel="p-value", ylabel="images", title=name)
    axis.legend()
plt.show()

# %% [markdown]
# ## Is the promise kept?
#
# For each share that you may choose, we count the false alarms among the 200 new normal images. The
# promise holds on average over draws of the held-out normals, so a count may lie above its share by
# chance. The grey band is where 99 of 100 such counts lie, with both the held-out and the new
# normals drawn at random.

# %%
shares = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
measured = np.array([detector.predict(normal, rule=share).mean() for share in shares])
# The true rate of a threshold that rests on n held-out normals is drawn too: from Beta(k, n+1-k).
ranks = np.floor(shares * (held_out + 1))
rates = rng.beta(ranks, held_out + 1 - ranks, size=(20_000, len(shares)))
counts = binom.rvs(len(normal), rates, random_state=0) / len(normal)
low, high = np.quantile(counts, [0.005, 0.995], axis=0)
for share, rate, least, most in zip(shares, measured, low, high, strict=True):
    print(f"chosen {share:.0%}: {rate:.1%} false alarms (chance allows {least:.1%} to {most:.1%})")
assert np.all(measured <= high)

figure, axis = plt.subplots(figsize=(5, 3.4), layout="constrained")
axis.fill_between(shares, low, high, color="lightgrey", label="99 of 100 draws")
axis.plot(shares, shares, color="black", linestyle="--", label="as chosen")
axis.plot(shares, measured, marker="o", label="measured")
axis.set(xlabel="share chosen", ylabel="false alarms among new normals")
axis.legend()
plt.show()

# %% [markdown]
# The detector says beforehand how well its threshold is known. This is what `anomem fit` prints:

# %%
print(expected_at(0.05, [(held_out, held_out)]))

# %% [markdown]
# ## With labelled anomalies
#
# Once some anomalies are labelled, the threshold may weigh misses against false alarms:
# `find-labelled` finds all that are labelled; `f1` takes the best F1 on them; `cost:50:0.01` says
# that a miss costs as much as 50 false alarms, and that 1% of the images are anomalous. For this
# each labelled anomaly is scored as if it had not been learnt from.

# %%
detector.adapt(labelled, [1] * len(labelled))
rules = ["0.05", "f1", "find-labelled", "cost:50:0.01", "cost:1:0.01"]
of_normal, of_anomalous = (detector.decision_function(X) for X in (normal, anomalous))
results = {}
for rule in rules:
    threshold = detector.threshold(rule)
    results[rule] = (threshold, (of_normal > threshold).mean(), (of_anomalous <= threshold).mean())
    print(f"{rule:>14}: threshold {threshold:5.2f}, {results[rule][1]:5.1%} false alarms, ", end="")
    print(f"{results[rule][2]:5.1%} of anomalies missed")
print(detector.promise("find-labelled"))

# A dearer miss lowers the threshold, or leaves it.
assert results["cost:50:0.01"][0] <= results["cost:1:0.01"][0]
# Of n labelled anomalies and a new one, each is the lowest equally often: up to 1 in n + 1 escapes.
assert results["find-labelled"][2] <= 0.2

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
bins = np.linspace(min(of_normal.min(), of_anomalous.min()), np.quantile(of_anomalous, 0.95), 60)
axis.hist(of_normal, bins, density=True, alpha=0.6, label="normal")
axis.hist(of_anomalous, bins, density=True, alpha=0.6, label="anomalous")
for index, threshold in enumerate(sorted({result[0] for result in results.values()}), 2):
    alike = ", ".join(rule for rule in rules if results[rule][0] == threshold)
    axis.axvline(threshold, color=f"C{index}", linestyle="--", label=alike)
axis.set(xlabel="score", ylabel="density")
axis.legend(fontsize=8)
plt.show()
