"""The Dice of masks foretold while they are predicted, by the model in the bundle's folder."""

from statistics import fmean

from medseg.bundle import Bundle
from medseg.errors import BundleError
from medseg.inference.engine import Device
from medseg.inference.opinions import Examination, Examiner, Opinions
from medseg.inference.quality_model import (
    FILE_NAME,
    QualityModel,
    evidence_of,
    read_quality_model,
)
from medseg.volume.volume import Volume


class Foreteller:
    """A bundle and its model of quality.

    Args:
        bundle: Whose masks are foretold.
        device: Where its networks run.

    Raises:
        BundleError: If there is no model for these weights.
        CorruptBundle: If the model cannot be read.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto") -> None:
        model = read_quality_model(bundle)
        if model is None:
            raise BundleError(
                f"Dice is foretold by a model that lies in the bundle's folder ({FILE_NAME}).",
                received=f"none for the weights of {bundle.identity}",
                cure="Fit one on 20 labelled cases or more: medseg drift baseline CASES --labels "
                "LABELS --model BUNDLE; or on the cases of its training: medseg drift calibrate "
                "DATASET --model RUN.",
            )
        self.model, self._examiner = model, Examiner(bundle, device=device)

    def dice(self, volume: Volume) -> float:
        """The mean Dice that the mask of a case is expected to have, 0 to 1."""
        opinions = self._examiner.ask(volume)
        return foretold(self.model, self._examiner, opinions)


def foretold(
    model: QualityModel,
    examiner: Examiner,
    opinions: Opinions,
    seen: Examination | None = None,
) -> float:
    """The mean Dice that a mask is expected to have, 0 to 1.

    A model of single networks foretells the Dice of each network's own mask; the mean of these is
    told of the mask that they make together, which is rarely worse.

    Args:
        model: That of the bundle.
        examiner: Who asked.
        opinions: Of all networks.
        seen: The examination by all of them, where it is at hand.
    """
    if model.judges == "network":
        return fmean(model.predict(evidence_of(one)) for one in examiner.alone(opinions))
    return model.predict(evidence_of(seen or examiner.together(opinions)))
