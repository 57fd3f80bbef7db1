"""Held-out cases judged: every candidate for the bundle, all from one look at each case.

A candidate is one configuration or an ensemble of two. A case is read once, each configuration's
network of its fold sweeps it once, and the masks of all candidates are elected from these sweeps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.dataset.description import DatasetDescription, read_case, read_case_label
from medseg.dataset.plan import Plan
from medseg.dataset.store import Store
from medseg.inference.elected import voted
from medseg.inference.evidence import probabilities
from medseg.inference.predict import Predictor
from medseg.progress import SILENT, Progress
from medseg.space.votes import TopClasses
from medseg.specs.postprocess import PostprocessSpec
from medseg.training.afterwards import trials
from medseg.training.calibration import sample_doubts
from medseg.training.judged import Doubts, Judged, Judgement, OutOfFold
from medseg.training.schedule import Clock
from medseg.training.validation import overlaps
from medseg.volume.volume import LabelMap

Candidates = Mapping[str, tuple[str, ...]]
"""For the name of each candidate, the configurations that it is made of."""


@dataclass(frozen=True, eq=False)
class Panel:
    """Networks that have not seen the cases of a fold, and what is made of them.

    Attributes:
        description: The data set.
        networks: The network of each configuration.
        stores: Preprocessed cases of each configuration.
        candidates: What is judged.
        results: Where the masks and records of each candidate are kept.
        steps: Post-processing that is tried on each mask.
    """

    description: DatasetDescription
    networks: Mapping[str, Predictor]
    stores: Mapping[str, Store]
    candidates: Candidates
    results: Mapping[str, OutOfFold]
    steps: tuple[PostprocessSpec, ...] = ()

    def find(self, case_id: str) -> dict[str, Judged] | None:
        """What an earlier run knew of a case; None if a candidate lacks it."""
        found = {name: self.results[name].find(case_id) for name in self.candidates}
        known = {name: one for name, one in found.items() if one is not None}
        return known if len(known) == len(found) else None

    def judge(self, case_id: str, fold: int) -> dict[str, Judged]:
        """Predict a case from its files, as a user would, and keep what each candidate scores."""
        case = self.description.case(case_id)
        volume = read_case(self.description, case)
        reference = read_case_label(self.description, case)
        tops: dict[str, TopClasses] = {}
        for name, network in self.networks.items():
            (configured,) = network.configured
            tops[name] = configured.sweep(configured.prepared(volume))
        judged = {}
        for name, parts in self.candidates.items():
            plan = self.networks[parts[0]].bundle.plan
            mask = voted([tops[part] for part in parts], volume, plan.labels, regions=plan.regions)
            judgement = self._judgement(mask, reference, plan, case_id, fold)
            doubts = self._doubts(parts[0], tops[parts[0]], case_id) if len(parts) == 1 else None
            judged[name] = Judged(judgement, doubts)
            self.results[name].keep(judged[name], mask)
        return judged

    def _judgement(
        self, mask: LabelMap, reference: LabelMap, plan: Plan, case_id: str, fold: int
    ) -> Judgement:
        ignored = self.description.ignored_value
        structures = plan.judged
        counts = overlaps(mask.array, reference.array, structures.values(), ignored=ignored)
        dice = {
            name: None if overlap.status == "both_empty" else overlap.dice
            for name, overlap in zip(structures, counts, strict=True)
        }
        tried = trials(mask, reference, self.steps, ignored)
        return Judgement(case=case_id, fold=fold, dice=dice, trials=tried)

    def _doubts(self, name: str, top: TopClasses, case_id: str) -> Doubts | None:
        """A sample of probabilities; none of regions, or where voxels are ignored.

        Regions are no classes of which one is true, and near ignored voxels the truth is not known.
        """
        plan = self.networks[name].bundle.plan
        labels = self.stores[name].case(case_id).labels()
        if labels is None or plan.regions or plan.ignored_value is not None:
            return None
        return sample_doubts(probabilities(top), labels, case_id)


def validate(
    panel: Panel,
    ids: Sequence[str],
    *,
    fold: int,
    clock: Clock,
    until: float | None,
    progress: Progress = SILENT,
) -> dict[str, tuple[Judged, ...]]:
    """Judge cases, those that an earlier run has judged left out.

    Args:
        panel: Who judges.
        ids: The cases, in the order they are taken.
        fold: The fold, for the record.
        clock: Seconds of the command.
        until: When to be done; cases that would take longer are left out, but for the first.
        progress: Told of each case.

    Returns:
        For each candidate, what became of each case.
    """
    found: list[dict[str, Judged]] = []
    begin, new = clock(), 0
    with progress.task("validate", len(ids)) as task:
        for case_id in ids:
            known = panel.find(case_id)
            if known is None:
                each = (clock() - begin) / new if new else 0.0
                if until is not None and found and clock() + each > until:
                    break
                known, new = panel.judge(case_id, fold), new + 1
            found.append(known)
            task.advance()
    return {name: tuple(one[name] for one in found) for name in panel.candidates}
