"""medseg: from a folder of scans to a judged segmentation.

Names are loaded when they are first used: `import medseg` itself loads neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from medseg.bundle import Bundle as Bundle
    from medseg.bundle import load_bundle as load_bundle
    from medseg.dataset.importers import open_dataset as open_dataset
    from medseg.dataset.plan import Plan as Plan
    from medseg.errors import MedsegError as MedsegError
    from medseg.inference.predict import Predictor as Predictor
    from medseg.metrics.case import score_case as score_case
    from medseg.report.scores.score import evaluate as evaluate
    from medseg.volume.geometry import Geometry as Geometry
    from medseg.volume.io import read_label_map as read_label_map
    from medseg.volume.io import read_volume as read_volume
    from medseg.volume.io import write_label_map as write_label_map
    from medseg.volume.io import write_volume as write_volume
    from medseg.volume.volume import LabelMap as LabelMap
    from medseg.volume.volume import Volume as Volume

_HOMES = {
    "Bundle": "medseg.bundle",
    "Geometry": "medseg.volume.geometry",
    "LabelMap": "medseg.volume.volume",
    "MedsegError": "medseg.errors",
    "Plan": "medseg.dataset.plan",
    "Predictor": "medseg.inference.predict",
    "Volume": "medseg.volume.volume",
    "evaluate": "medseg.report.scores.score",
    "load_bundle": "medseg.bundle",
    "open_dataset": "medseg.dataset.importers",
    "read_label_map": "medseg.volume.io",
    "read_volume": "medseg.volume.io",
    "score_case": "medseg.metrics.case",
    "write_label_map": "medseg.volume.io",
    "write_volume": "medseg.volume.io",
}

__all__ = [
    "Bundle",
    "Geometry",
    "LabelMap",
    "MedsegError",
    "Plan",
    "Predictor",
    "Volume",
    "__version__",
    "evaluate",
    "load_bundle",
    "open_dataset",
    "read_label_map",
    "read_volume",
    "score_case",
    "write_label_map",
    "write_volume",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
