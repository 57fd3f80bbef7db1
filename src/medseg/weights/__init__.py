"""Weights that other programs have trained, as bundles: by name, all of them or with a word why.

`convert(files, arch)` reads checkpoints of a network's authors and gives a bundle.
"""

from medseg.weights.convert import Conversion, convert

__all__ = ["Conversion", "convert"]
