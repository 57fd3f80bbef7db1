"""Networks: functions of tensors that know no dataset, built from a frozen spec.

`build(spec)` makes one, `names()` lists the kinds, `paper_spec(name)` gives the paper's setting.
"""

from medseg.networks.build import build, names, paper_spec
from medseg.networks.network import Network

__all__ = ["Network", "build", "names", "paper_spec"]
