"""The Dice of masks foretold while they are predicted, by the model in the bundle's folder."""

from medseg.bundle import Bundle
from medseg.errors import BundleError
from medseg.inference.engine import Device
from medseg.inference.opinions import Examiner
from medseg.inference.quality_model import FILE_NAME, evidence_of, read_quality_model
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
                "LABELS --model BUNDLE.",
            )
        self.model, self._examiner = model, Examiner(bundle, device=device)

    def dice(self, volume: Volume) -> float:
        """The mean Dice that the mask of a case is expected to have, 0 to 1."""
        return self.model.predict(evidence_of(self._examiner.examine(volume)))
