"""One case seen by each network, plain and mirrored: the mask, and how far opinions differ.

Prediction adds opinions up as they come; here each is kept long enough to be compared. Numbers are
means over the voxels where a structure is possible, so that they do not depend on how much
background surrounds it. In nats:

    entropy      H(mean p)                    doubt of all networks together
    information  H(mean p) - mean H(p)        what is left of it when one of them is believed (BALD)

Source: Houlsby et al., Bayesian Active Learning for Classification and Preference Learning,
arXiv:1112.5745, 2011; pairwise Dice as an estimate of quality: Zenk et al., Comparative
Benchmarking of Failure Detection Methods in Medical Image Segmentation, Med. Image Anal. 101, 2025.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from medseg.bundle import Bundle
from medseg.dataset.description import fit_picture
from medseg.dataset.preprocess import Preprocessed
from medseg.inference.appearance import appearance
from medseg.inference.components import parts_of
from medseg.inference.configured import Configured, shown, slots_of
from medseg.inference.elected import elected, voted
from medseg.inference.embedding import Encoder
from medseg.inference.engine import Activation, Device, Engine, Part
from medseg.inference.engines import TorchMaker
from medseg.inference.ensemble import Ensemble
from medseg.inference.evidence import probabilities
from medseg.inference.fitting import require_fitting
from medseg.inference.postprocess import postprocessed
from medseg.inference.quality import Quality, estimate_quality
from medseg.inference.window import sweep
from medseg.space.votes import TopClasses
from medseg.types import FloatArray, IntArray
from medseg.volume.volume import LabelMap, Volume

POSSIBLE = 0.05
"""A structure is possible where its probability is above."""

_VOXELS_AT_ONCE = 1 << 18
_SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Examination:
    """What networks say about one case, and how far they agree.

    Attributes:
        label_map: The mask of all networks together, on the case's own grid.
        quality: How far to trust it; see `medseg.inference.quality`.
        volumes_ml: Volume of each label by name.
        components: Connected parts of each label by name.
        stray_share: Share of all labelled voxels that lie outside the largest part of their label.
        entropy_nats: Of the mean of the networks, where a structure is possible.
        member_information_nats: Between networks; 0 with a single one.
        mirror_information_nats: Between plain and mirrored; 0 of a bundle trained without mirrors.
        member_dice: Mean Dice of pairs of networks; None with a single one.
        mirror_dice: Mean Dice of plain and mirrored; None without mirrors.
        appearance: What the image looks like; see `medseg.inference.appearance`.
        embedding: What the encoder makes of it, shape (E,).
    """

    label_map: LabelMap
    quality: Quality
    volumes_ml: dict[str, float]
    components: dict[str, int]
    stray_share: float
    entropy_nats: float
    member_information_nats: float
    mirror_information_nats: float
    member_dice: float | None
    mirror_dice: float | None
    appearance: dict[str, float]
    embedding: FloatArray


@dataclass(frozen=True, eq=False)
class Opinions:
    """What each network says about one case, kept until it was compared.

    Attributes:
        volume: The case, on its own grid.
        plain: Classes and their weights on the networks' grid, of each network that was asked.
        mirrored: The same of the mirrored image; none without mirrors.
        appearance: What the image looks like.
        embedding: What the encoder makes of it, shape (E,).
    """

    volume: Volume
    plain: Sequence[TopClasses]
    mirrored: Sequence[TopClasses]
    appearance: dict[str, float]
    embedding: FloatArray


class Examiner:
    """The first configuration of a bundle, ready to look at cases closely.

    It costs a pass for each network and, where mirrors were trained, one more, mirrored along all
    of their axes; and one of an encoder. All opinions on a case are held at the same time.

    Args:
        bundle: What to use. Of several configurations the first one is examined.
        device: Where it runs.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto") -> None:
        self.bundle = bundle
        first = bundle.configurations[0]
        self._configured = Configured(first, maker=TorchMaker(device=device))
        self._plan = self._configured.plan
        self._encoder = Encoder(first, device=device)
        dims = self._plan.network.dims
        self._axes = tuple(axis for axis in self._plan.augment.mirror.axes if axis < dims)

    @property
    def members(self) -> int:
        """How many networks there are."""
        return len(self._configured.engines)

    @property
    def has_mirrors(self) -> bool:
        """Whether mirrored images are an opinion of their own."""
        return bool(self._axes)

    def examine(self, volume: Volume) -> Examination:
        """Look at one case; what its networks say together counts.

        Args:
            volume: The case as it was read, on any grid.

        Raises:
            WrongInput: If the bundle was not made for such a case.
            DatasetError: If a voxel holds no finite number.
        """
        return self.together(self.ask(volume))

    def ask(self, volume: Volume, networks: Sequence[int] | None = None) -> Opinions:
        """What networks say about one case.

        Args:
            volume: The case as it was read, on any grid.
            networks: Numbers of those that are asked; None asks all.

        Raises:
            WrongInput: If the bundle was not made for such a case.
            DatasetError: If a voxel holds no finite number.
        """
        volume = fit_picture(volume, self.bundle.plan.channels)
        require_fitting(volume, self._plan)
        case = self._configured.prepared(volume)
        every = self._configured.engines
        engines = every if networks is None else [every[n] for n in networks]
        plain = [self._swept(case, engine) for engine in engines]
        mirrored = []
        if self._axes:
            mirrored = [self._swept(case, _Mirrored(engine, self._axes)) for engine in engines]
        return Opinions(volume, plain, mirrored, appearance(case), self._encoder.embed(case))

    def alone(self, opinions: Opinions) -> tuple[Examination, ...]:
        """An examination by each of the networks that were asked, as if there was no other."""
        return tuple(
            self.together(
                replace(
                    opinions,
                    plain=opinions.plain[n : n + 1],
                    mirrored=opinions.mirrored[n : n + 1],
                )
            )
            for n in range(len(opinions.plain))
        )

    def together(self, opinions: Opinions) -> Examination:
        """The examination by all networks that were asked."""
        plain, mirrored = opinions.plain, opinions.mirrored
        counted, label_map = self._mask(plain, opinions.volume)
        expectation = self._configured.expectation()
        for top in counted:
            expectation.add(top)
        quality = estimate_quality(
            [expectation],
            label_map,
            volume_ranges_ml=self.bundle.volume_ranges_ml,
            instances=self._plan.instances,
            regions=self._plan.regions,
        )
        doubt = self._doubt(plain, mirrored)
        masks = [self._classes(top) for top in plain]
        turned = [self._classes(top) for top in mirrored]
        labels = range(1, len(self._plan.labels) + 1)
        components, stray_share = _parts(label_map)
        return Examination(
            label_map=label_map,
            quality=quality,
            volumes_ml=label_map.volumes_ml(),
            components=components,
            stray_share=stray_share,
            entropy_nats=doubt[0],
            member_information_nats=doubt[1],
            mirror_information_nats=doubt[2],
            member_dice=agreement(list(combinations(masks, 2)), labels) if masks[1:] else None,
            mirror_dice=agreement(list(zip(masks, turned, strict=True)), labels)
            if turned
            else None,
            appearance=opinions.appearance,
            embedding=opinions.embedding,
        )

    def _swept(self, case: Preprocessed, engine: Engine) -> TopClasses:
        ensemble = Ensemble(
            (engine,),
            activation=self._activation,
            mask_channels=self._plan.mask_channels,
        )
        return sweep(
            shown(case),
            ensemble,
            self._plan.window,
            classes=self._plan.network.classes,
            slots=slots_of(self._plan),
            geometry=case.geometry,
        )

    @property
    def _activation(self) -> Activation:
        return self._configured.ensemble.activation

    def _mask(
        self, tops: Sequence[TopClasses], volume: Volume
    ) -> tuple[list[TopClasses], LabelMap]:
        """What networks elect together: by mean logits where each class has a slot."""
        if len(tops) > 1 and self._plan.network.classes <= slots_of(self._plan):
            mean = np.stack([top.weights for top in tops]).mean(0)
            tops = [replace(tops[0], weights=np.asarray(mean, np.float32))]
        found = voted(tops, volume, self.bundle.labels, regions=self._plan.regions)
        return list(tops), postprocessed(found, self.bundle.postprocessing)

    def _classes(self, top: TopClasses) -> IntArray:
        return elected([top], top.geometry, self._plan.labels, self._plan.regions)

    def _doubt(
        self, plain: Sequence[TopClasses], mirrored: Sequence[TopClasses]
    ) -> tuple[float, float, float]:
        """Entropy, information between networks, and information between plain and mirrored."""
        sigmoid = self._activation == "sigmoid"
        sums, voxels = np.zeros(3), 0
        for each in _dense([*plain, *mirrored], self._plan.network.classes):
            ours, theirs = each[: len(plain)], each[len(plain) :]
            mean = ours.mean(0)
            possible = (mean.max(0) if sigmoid else 1 - mean[0]) > POSSIBLE
            ours, theirs, mean = ours[..., possible], theirs[..., possible], mean[:, possible]
            entropy = entropy_nats(mean, sigmoid=sigmoid)
            single = entropy_nats(ours, sigmoid=sigmoid)
            sums[0] += entropy.sum()
            sums[1] += (entropy - single.mean(0)).sum()
            if len(theirs):
                both = entropy_nats((ours + theirs) / 2, sigmoid=sigmoid)
                apart = both - (single + entropy_nats(theirs, sigmoid=sigmoid)) / 2
                sums[2] += apart.mean(0).sum()
            voxels += int(possible.sum())
        entropy_sum, members, mirrors = (max(0.0, float(one)) / max(1, voxels) for one in sums)
        return entropy_sum, members, mirrors


class _Mirrored(Engine):
    """An engine that sees every patch mirrored, and whose answer is mirrored back."""

    def __init__(self, engine: Engine, axes: Sequence[int]) -> None:
        self.name, self.precision, self.gate_names = engine.name, engine.precision, ()
        self._engine, self._axes = engine, tuple(axis + 2 for axis in axes)

    def run(self, batch: FloatArray) -> FloatArray:
        turned = np.ascontiguousarray(np.flip(batch, self._axes))
        return np.ascontiguousarray(np.flip(self._engine.run(turned), self._axes))

    def parts(self, batch: FloatArray) -> Iterator[Part]:
        yield Part(0, self.run(batch))


def entropy_nats(p: FloatArray, *, sigmoid: bool = False) -> FloatArray:
    """Entropy of each voxel.

    Args:
        p: Probabilities, shape (..., N, voxels): of classes that exclude each other, or of regions,
            whose mean counts.
        sigmoid: Whether they are regions.

    Returns:
        Shape (..., voxels).
    """
    if sigmoid:
        return np.asarray((_plogp(p) + _plogp(1 - p)).mean(-2))
    return np.asarray(_plogp(p).sum(-2))


def agreement(pairs: Sequence[tuple[IntArray, IntArray]], classes: Sequence[int]) -> float:
    """Mean Dice over pairs of masks and over classes; what neither of a pair has is left out.

    Args:
        pairs: Class indices, each pair of one shape.
        classes: Which of them count.

    Returns:
        0 to 1; 0 where no mask has anything.
    """
    dice = []
    for one, other in pairs:
        for value in classes:
            a, b = one == value, other == value
            total = int(a.sum()) + int(b.sum())
            if total:
                dice.append(2 * int((a & b).sum()) / total)
    return float(np.mean(dice)) if dice else 0.0


def _plogp(p: FloatArray) -> FloatArray:
    return np.asarray(-p * np.log(np.maximum(p, _SMALLEST)))


def _dense(tops: Sequence[TopClasses], count: int) -> Iterator[FloatArray]:
    """Probabilities of all classes, (opinions, N, voxels), some voxels at a time."""
    flat = []
    for top in map(probabilities, tops):
        shape = (len(top.classes), -1)
        flat.append((top.classes.reshape(shape), top.weights.reshape(shape)))
    voxels = flat[0][0].shape[1]
    for start in range(0, voxels, _VOXELS_AT_ONCE):
        stop = min(voxels, start + _VOXELS_AT_ONCE)
        dense = np.zeros((len(flat), count, stop - start), np.float32)
        at = np.arange(stop - start)
        for opinion, (classes, weights) in zip(dense, flat, strict=True):
            for slot in range(len(classes)):
                opinion[classes[slot, start:stop], at] += weights[slot, start:stop]
        yield dense


def _parts(label_map: LabelMap) -> tuple[dict[str, int], float]:
    """How many parts each label has, and which share lies outside the largest ones."""
    parts = parts_of(label_map.array)
    counts, outside, total = {}, 0, 0
    for label in label_map.labels:
        own = parts.of(label.value)
        voxels = int(own.sizes @ own.counts)
        counts[label.name] = int(own.counts.sum())
        outside += voxels - int(own.sizes.max(initial=0))
        total += voxels
    return counts, outside / max(1, total)
