"""Whether methods of a table differ: ranks over cells, and what of them chance would give."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, studentized_range, wilcoxon

ALPHA = 0.05
"""Share of comparisons of equal methods in which one may be called ahead."""
LEAST_METHODS, LEAST_CELLS = 3, 5


@dataclass(frozen=True)
class Significance:
    """Says how sure the order of some methods is.

    Attributes:
        cells: Number of cells that all methods have.
        friedman: Probability of ranks so unequal if no method were better than another.
        critical_difference: Least difference of mean ranks by which one method is ahead.
        methods: By method, the best first: ``rank``, the mean over cells, 1 is best; and ``p`` of
            the difference to the best method, NaN for that one itself.
    """

    cells: int
    friedman: float
    critical_difference: float
    methods: pd.DataFrame

    @property
    def least_p(self) -> float:
        """Give the least ``p`` of any method, were it behind the best in every cell."""
        return min(2 * 0.5**self.cells * (len(self.methods) - 1), 1.0)


def significance(cells: pd.DataFrame) -> Significance | None:
    """Compare methods over cells, as Demsar (JMLR 2006) recommends for several classifiers.

    The Friedman test asks whether any differs, the critical difference of Nemenyi which pairs do,
    and Wilcoxon signed-rank tests, corrected by Holm's procedure, whether the best one differs from
    each other. Cells are taken as independent, which draws of one class are only in part: what is
    found speaks of these classes.

    Args:
        cells: A figure by method (rows) and cell (columns), none missing; more is better.

    Returns:
        None for fewer than three methods or five cells, of which nothing is known.
    """
    methods, count = cells.shape
    if methods < LEAST_METHODS or count < LEAST_CELLS:
        return None
    ranks = cells.rank(ascending=False).mean(axis=1).sort_values(kind="stable")
    equal = cells.nunique().max() == 1
    friedman = 1.0 if equal else float(friedmanchisquare(*cells.to_numpy()).pvalue)
    width = float(studentized_range.ppf(1 - ALPHA, methods, inf)) / sqrt(2)
    best, *others = ranks.index
    p = holm(pd.Series({name: _paired(cells.loc[best], cells.loc[name]) for name in others}))
    return Significance(
        count,
        friedman,
        width * sqrt(methods * (methods + 1) / (6 * count)),
        pd.DataFrame({"rank": ranks, "p": p.reindex(ranks.index)}),
    )


def holm(p: pd.Series) -> pd.Series:
    """Correct the probabilities of several tests by Holm's procedure, so that they hold together.

    Examples:
        >>> holm(pd.Series({"a": 0.01, "b": 0.04, "c": 0.03})).to_dict()
        {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    ordered = p.sort_values(kind="stable")
    return (ordered * np.arange(len(p), 0, -1)).cummax().clip(upper=1.0)


def _paired(best: pd.Series, other: pd.Series) -> float:
    """Probability, of both sides, that paired figures differ so by chance."""
    return 1.0 if (best == other).all() else float(wilcoxon(best, other).pvalue)
