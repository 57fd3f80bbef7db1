"""Patches as the networks of a bundle see them: of a data set, or made up where there is none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from medseg.bundle import Bundle, Configuration
from medseg.dataset.description import DatasetDescription, fit_picture, read_case
from medseg.errors import WrongInput
from medseg.inference.configured import Configured, shown
from medseg.inference.fitting import require_fitting
from medseg.inference.window import cut
from medseg.progress import SILENT, Progress
from medseg.transforms.masks import mask_channels
from medseg.types import FloatArray

MADE_UP = "made up"
"""The source of patches where no data set was given."""

_CASES = 12
"""Cases that patches are taken from, at most."""


@dataclass(frozen=True, eq=False)
class Patches:
    """What networks are tried on.

    Attributes:
        batches: One patch each, float32, shape (1, C, *patch).
        source: Name of the data set, or "made up".
    """

    batches: tuple[FloatArray, ...]
    source: str


@dataclass(frozen=True, eq=False)
class TrialData:
    """A data set that a bundle is calibrated, checked or trained on.

    Args:
        bundle: The bundle.
        description: The data set.

    Attributes:
        training: Ids of cases that patches are taken from.
        judging: Ids of labelled cases that results are judged on.
        are_held_out: Whether no network of the bundle was trained on one of them.

    Raises:
        WrongInput: If the data set is not of the kind that the bundle was trained on.
    """

    bundle: Bundle
    description: DatasetDescription

    def __post_init__(self) -> None:
        require_same_kind(self.bundle, self.description)

    @property
    def training(self) -> tuple[str, ...]:
        """Cases that the bundle was trained on; of another data set, those that do not judge."""
        known, judging = self._known, set(self.judging)
        every = tuple(case.id for case in self.description.all_cases)
        return tuple(name for name in every if name in known) or (
            tuple(name for name in every if name not in judging) or every
        )

    @property
    def judging(self) -> tuple[str, ...]:
        """Labelled cases that no network saw; without any, every third of all labelled ones."""
        labelled = tuple(case.id for case in self.description.cases)
        unseen = tuple(name for name in labelled if name not in self._known)
        if not self._known:
            return unseen[::3]
        return unseen or labelled[::3]

    @property
    def are_held_out(self) -> bool:
        """Whether no network was trained on a case that judges."""
        return not self._known & set(self.judging)

    @property
    def _known(self) -> set[str]:
        """Training cases, if this is the data set that the bundle was trained on."""
        provenance = self.bundle.provenance
        return set(provenance.training_cases) & {c.id for c in self.description.all_cases}


def require_same_kind(bundle: Bundle, description: DatasetDescription) -> None:
    """Pass if a data set has the channels, modalities and structures of a bundle.

    Raises:
        WrongInput: If it has not.
    """
    wanted, given = bundle.plan.channels, description.channels
    names = [", ".join(f"{c.name} ({c.modality or '?'})" for c in some) for some in (wanted, given)]
    rule = f"A bundle is calibrated on images of its own kind: {names[0]}."
    cure = "Give the data set that it was trained on, or one of the same modality."
    pairs = list(zip(wanted, given, strict=False))
    other = any(a.modality and b.modality and a.modality != b.modality for a, b in pairs)
    if len(wanted) != len(given) or other:
        raise WrongInput(rule, received=f"{description.name} with {names[1]}", cure=cure)
    ours, theirs = (
        {(x.name, x.value) for x in some} for some in (bundle.labels, description.labels)
    )
    if ours != theirs:
        raise WrongInput(
            "A bundle is judged on the structures that it finds.",
            received=f"{description.name} with other labels",
            cure=cure,
        )


def real_patches(
    data: TrialData,
    configuration: Configuration,
    count: int,
    *,
    progress: Progress = SILENT,
) -> Patches:
    """Patches of a data set's training cases: one from the middle of each case, the rest anywhere.

    Args:
        data: The data set.
        configuration: How cases are prepared.
        count: How many patches.
        progress: Told of each case.
    """
    chosen = _spread(data.training, min(_CASES, count))
    generator, batches = np.random.default_rng(0), []
    prepared = _prepared(data, configuration, chosen, progress)
    for n, image in enumerate(prepared):
        share = len(range(n, count, len(chosen)))
        for k in range(share):
            batches.append(_patch(image, configuration, generator, middle=k == 0))
    return Patches(tuple(batches), data.description.name)


def made_up_patches(configuration: Configuration, count: int) -> Patches:
    """Smooth shapes in noise, of mean 0 and deviation 1: nothing like anatomy.

    They are like images in how their values are distributed and related, which is what comparing
    two runtimes needs, and no more.
    """
    network, generator = configuration.plan.network, np.random.default_rng(0)
    shape = (network.in_channels, *configuration.plan.patch_size[: network.dims])
    batches = []
    for _ in range(count):
        noise = generator.standard_normal(shape, dtype=np.float32)
        smooth = np.stack([gaussian_filter(channel, 3.0) for channel in noise])
        image = smooth / max(float(smooth.std()), 1e-6) + 0.2 * noise
        batches.append(image[np.newaxis].astype(np.float32))
    return Patches(tuple(batches), MADE_UP)


def _prepared(
    data: TrialData, configuration: Configuration, ids: Sequence[str], progress: Progress
) -> Iterator[FloatArray]:
    """What windows are cut from, for each of the cases."""
    configured = Configured(configuration)
    with progress.task("Reading patches", len(ids)) as task:
        for name in ids:
            volume = read_case(data.description, data.description.case(name))
            volume = fit_picture(volume, configuration.plan.channels)
            require_fitting(volume, configuration.plan)
            yield shown(configured.prepared(volume))
            task.advance()


def _patch(
    image: FloatArray,
    configuration: Configuration,
    generator: np.random.Generator,
    *,
    middle: bool,
) -> FloatArray:
    """One patch, (1, C, *patch)."""
    size, free = configuration.plan.patch_size, []
    for voxels, edge in zip(image.shape[1:], size, strict=True):
        slack = voxels - edge
        anywhere = slack > 0 and not middle
        free.append(int(generator.integers(slack + 1)) if anywhere else slack // 2)
    patch = cut(image, (free[0], free[1], free[2]), size)[np.newaxis]
    if configuration.plan.mask_channels:
        masks = mask_channels(patch[:, -1].astype(np.int64), configuration.plan.mask_channels)
        patch = np.concatenate([patch[:, :-1], np.moveaxis(masks, 0, 1)], axis=1)
    return np.ascontiguousarray(patch[..., 0] if configuration.plan.network.dims == 2 else patch)


def _spread(names: Sequence[str], count: int) -> list[str]:
    """So many of the names, evenly spread."""
    if len(names) <= count:
        return list(names)
    return [names[round(n * (len(names) - 1) / max(1, count - 1))] for n in range(count)]
