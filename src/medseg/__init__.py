"""medseg: from a folder of scans to a judged segmentation.

Names are loaded when they are first used: `import medseg` itself loads neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from medseg.errors import MedsegError as MedsegError
    from medseg.volume.geometry import Geometry as Geometry
    from medseg.volume.volume import LabelMap as LabelMap
    from medseg.volume.volume import Volume as Volume

_HOMES = {
    "Geometry": "medseg.volume.geometry",
    "LabelMap": "medseg.volume.volume",
    "MedsegError": "medseg.errors",
    "Volume": "medseg.volume.volume",
}

__all__ = ["Geometry", "LabelMap", "MedsegError", "Volume", "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
