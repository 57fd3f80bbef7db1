"""Statistics that tell whether a few cases are still like those before: nothing but arrays.

Every statistic is told as a *surprise*, the negative decimal logarithm of a nominal probability
under "nothing changed": 3 is one in a thousand. Nominal, because neither the many statistics nor
the many looks are accounted for here; `drift_baseline` calibrates thresholds for all of them.

Sources: two-sample Kolmogorov-Smirnov with Stephens' approximation (J. R. Stat. Soc. B 32, 1970);
kernel MMD, unbiased, with a gamma approximation of its null (Gretton et al., JMLR 13, 2012, and
NIPS 2009); CUSUM (Page, Biometrika 41, 1954) over conformal p-values of single cases (Vovk et al.,
Algorithmic Learning in a Random World, 2005).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from medseg.types import FloatArray, IntArray

COMPONENTS = 4
"""Principal components of the embedding that are tested one by one."""

NEIGHBOURS = 5
"""Nearest cases whose mean distance says how strange a case is."""

SMALLEST_P = 1e-4
"""Of a single case: one strange case alone is no drift."""

CUSUM_DRIFT = 1.75
"""What the CUSUM of -ln p loses at each case; its mean without a change is 1."""

_CUSUM_RATE = 0.714
"""Decay of the CUSUM's maximum without a change: the root of exp(-rate * drift) = 1 - rate."""

_LARGEST_Z = 10.0
_ALMOST_CONSTANT = 1e-3


class Sample(NamedTuple):
    """Several cases.

    Attributes:
        image: What images look like, shape (n, S).
        mask: What was found in them, shape (n, M).
        embedding: What the encoder makes of them, shape (n, E).
        dice: Mean Dice where a reference is known, shape (n,); NaN elsewhere.
    """

    image: FloatArray
    mask: FloatArray
    embedding: FloatArray
    dice: FloatArray

    def take(self, which: IntArray | slice) -> "Sample":
        """Some of the cases."""
        return Sample(*(part[which] for part in self))

    @property
    def size(self) -> int:
        """How many cases."""
        return len(self.image)


Kind = Literal["ks", "mmd", "cusum"]

KINDS: tuple[Kind, ...] = ("ks", "mmd", "cusum")
"""Each has a threshold of its own: their nominal probabilities are not equally honest."""

VIEWS = ("image", "encoder", "mask")
"""What single cases are strange in; `dice` is a fourth where references are known."""


@dataclass(frozen=True, eq=False)
class Course:
    """How surprising a sequence of cases is after each of them.

    Attributes:
        columns: Of each number (image, then mask, then principal components of the embedding) by
            Kolmogorov-Smirnov, shape (T, S + M + P).
        mmd: Of the embeddings together, shape (T,).
        cusum: Of the strangeness of single cases by view, and of their Dice, shape (T, 4).
        case_p: Conformal p-value of each case by view, and of its Dice, shape (T, 4).
        scores: Normal scores of each number among the reference, shape (T, S + M + P): since when
            a number has moved is read off them.
    """

    columns: FloatArray
    mmd: FloatArray
    cusum: FloatArray
    case_p: FloatArray
    scores: FloatArray

    @property
    def all(self) -> FloatArray:
        """Every surprise, shape (T, S + M + P + 5)."""
        return np.concatenate([self.columns, self.mmd[:, None], self.cusum], axis=1)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kind of each column of `all`."""
        return (*("ks",) * self.columns.shape[1], "mmd", *("cusum",) * self.cusum.shape[1])

    @property
    def highest(self) -> FloatArray:
        """The highest surprise of each kind at any time, in the order of `KINDS`, shape (3,)."""
        return np.array([self.columns.max(), self.mmd.max(), self.cusum.max()])


class Reference:
    """Cases that others are compared with.

    Args:
        sample: At least `NEIGHBOURS` + 2 of them.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self._image, self._mask = _Standard(sample.image), _Standard(sample.mask)
        self._embedding = _Standard(sample.embedding)
        standard = self._embedding(sample.embedding)
        count = min(COMPONENTS, sample.size - 1, standard.shape[1])
        _, _, rows = np.linalg.svd(standard, full_matrices=False)
        self._axes = rows[:count]
        self._columns = self._all_columns(sample)
        self._strange = tuple(
            _Strangeness(part)
            for part in (self._image(sample.image), standard, self._mask(sample.mask))
        )
        self._kernel = _Kernel(standard)
        known = sample.dice[np.isfinite(sample.dice)]
        self._loss = _Tail(1 - known) if len(known) > NEIGHBOURS else None

    def course(self, window: Sample) -> Course:
        """How surprising a sequence is after each case, from its first case on."""
        columns = self._all_columns(window)
        return Course(
            columns=ks_surprise(self._columns, columns),
            mmd=self._kernel.surprise(self._embedding(window.embedding)),
            cusum=cusum_surprise(case_p := self._case_p(window)),
            case_p=case_p,
            scores=normal_scores(self._columns, columns),
        )

    def _all_columns(self, sample: Sample) -> FloatArray:
        projected = self._embedding(sample.embedding) @ self._axes.T
        return np.concatenate([sample.image, sample.mask, projected], axis=1)

    def _case_p(self, window: Sample) -> FloatArray:
        standard = (
            self._image(window.image),
            self._embedding(window.embedding),
            self._mask(window.mask),
        )
        p = np.ones((window.size, len(VIEWS) + 1))
        for n, (strange, values) in enumerate(zip(self._strange, standard, strict=True)):
            p[:, n] = strange.p(values)
        p[:, -1] = np.nan
        if self._loss is not None:
            known = np.isfinite(window.dice)
            p[known, -1] = self._loss.p(1 - window.dice[known])
        return p


def ks_surprise(reference: FloatArray, window: FloatArray) -> FloatArray:
    """Kolmogorov-Smirnov of the first t cases of a window against a reference, for every t.

    Args:
        reference: Shape (N, S).
        window: Shape (T, S).

    Returns:
        Surprise, shape (T, S); 0 after the first case, which is too few.
    """
    points = np.concatenate([reference, window])
    share = (reference[:, None] <= points).mean(0)
    counts = (window[:, None] <= points).cumsum(0)
    t = np.arange(1, len(window) + 1)
    apart = np.abs(counts / t[:, None, None] - share).max(1)
    effective = np.sqrt(t * len(reference) / (t + len(reference)))[:, None]
    surprise = -_log10(stats.kstwobign.sf((effective + 0.12 + 0.11 / effective) * apart))
    surprise[0] = 0.0
    return np.asarray(surprise)


def normal_scores(reference: FloatArray, window: FloatArray) -> FloatArray:
    """Where each value lies in a reference, as quantiles of a normal distribution.

    Returns:
        Shape of the window; 0 is the median, ties count half.
    """
    below = (reference[:, None] < window).sum(0) + (reference[:, None] <= window).sum(0)
    return np.asarray(stats.norm.ppf((below / 2 + 0.5) / (len(reference) + 1)))


def cusum(increments: FloatArray, *, drift: float) -> FloatArray:
    """Page's one-sided CUSUM: the sum so far, less `drift` a case, never below 0.

    Args:
        increments: Shape (T, ...); NaN adds nothing and takes nothing.
        drift: What is lost at each case.

    Returns:
        Shape of the increments.
    """
    total, course = np.zeros(increments.shape[1:]), np.empty(increments.shape)
    for t, step in enumerate(increments):
        total = np.maximum(0.0, total + np.where(np.isnan(step), 0.0, step - drift))
        course[t] = total
    return course


def cusum_surprise(case_p: FloatArray) -> FloatArray:
    """Surprise of the CUSUM over p-values of single cases, same shape."""
    total = cusum(-np.log(case_p), drift=CUSUM_DRIFT)
    return np.asarray(total * (_CUSUM_RATE / np.log(10)))


def since(scores: FloatArray, *, one_sided: bool = False) -> int:
    """The case with which a change of level most likely began.

    Args:
        scores: Normal scores of each case, shape (T,).
        one_sided: Whether only a rise counts.

    Returns:
        Its index: the start of the tail whose mean is furthest from 0, in its standard errors.
    """
    tails = np.cumsum(scores[::-1])[::-1] / np.sqrt(np.arange(len(scores), 0, -1))
    return int(np.argmax(tails if one_sided else np.abs(tails)))


class _Standard:
    """Numbers in deviations of a reference; those that hardly vary there are bounded."""

    def __init__(self, values: FloatArray) -> None:
        self._middle = values.mean(0)
        least = np.maximum(_ALMOST_CONSTANT * np.abs(self._middle), 1e-6)
        self._deviation = np.maximum(values.std(0), least)

    def __call__(self, values: FloatArray) -> FloatArray:
        standard = (values - self._middle) / self._deviation
        return np.asarray(np.clip(standard, -_LARGEST_Z, _LARGEST_Z))


class _Tail:
    """p-values of large scores: by rank, and beyond the largest known one by a gamma fit."""

    def __init__(self, scores: FloatArray) -> None:
        self._sorted = np.sort(scores)
        mean, variance = float(scores.mean()), max(float(scores.var()), 1e-12)
        self._shape, self._scale = mean**2 / variance, variance / max(mean, 1e-12)

    def p(self, scores: FloatArray) -> FloatArray:
        count = len(self._sorted)
        above = count - np.searchsorted(self._sorted, scores, side="left")
        rank = (above + 1) / (count + 1)
        fitted = stats.gamma.sf(scores, self._shape, scale=self._scale)
        p = np.where(above == 0, np.minimum(rank, fitted), rank)
        return np.asarray(np.maximum(p, SMALLEST_P))


class _Strangeness:
    """Mean distance to the nearest cases of a reference, as a conformal p-value."""

    def __init__(self, standard: FloatArray) -> None:
        self._known = standard
        apart = cdist(standard, standard)
        np.fill_diagonal(apart, np.inf)
        self._tail = _Tail(_nearest(apart))

    def p(self, standard: FloatArray) -> FloatArray:
        return self._tail.p(_nearest(cdist(standard, self._known)))


class _Kernel:
    """Maximum mean discrepancy with a Gaussian kernel as wide as the median distance."""

    def __init__(self, standard: FloatArray) -> None:
        self._known = standard
        squared = cdist(standard, standard, "sqeuclidean")
        off = ~np.eye(len(standard), dtype=bool)
        self._width = max(float(np.median(squared[off])), 1e-12)
        own = np.exp(-squared / self._width)
        self._own_mean = float(own[off].mean())
        centre = np.eye(len(own)) - 1 / len(own)
        weights = np.linalg.eigvalsh(centre @ own @ centre).clip(min=0) / len(own)
        self._second, third = float((weights**2).sum()), float((weights**3).sum())
        self._skew = max(8 * third / max(2 * self._second, 1e-30) ** 1.5, 1e-3)

    def surprise(self, window: FloatArray) -> FloatArray:
        """Of the first t cases, for every t; 0 after the first, which is too few."""
        count, known = len(window), len(self._known)
        t = np.arange(1, count + 1)
        own = np.exp(-cdist(window, window, "sqeuclidean") / self._width)
        np.fill_diagonal(own, 0)
        pairs = np.maximum(t * (t - 1), 1)
        within = np.array([own[:n, :n].sum() for n in t]) / pairs
        cross = np.exp(-cdist(window, self._known, "sqeuclidean") / self._width).mean(1)
        discrepancy = within + self._own_mean - 2 * np.cumsum(cross) / t
        spread = 1 / pairs + 1 / (known * (known - 1)) + 2 / (t * known)
        deviation = np.sqrt(2 * self._second * spread)
        shape = 4 / self._skew**2
        standard = discrepancy / deviation * np.sqrt(shape) + shape
        surprise = -stats.gamma.logsf(np.maximum(standard, 0), shape) / np.log(10)
        surprise[0] = 0.0
        return np.asarray(surprise)


def _nearest(apart: FloatArray) -> FloatArray:
    return np.asarray(np.sort(apart, axis=1)[:, :NEIGHBOURS].mean(1))


def _log10(p: FloatArray) -> FloatArray:
    return np.asarray(np.log10(np.maximum(p, 1e-300)))
