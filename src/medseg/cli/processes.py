"""What the environment says: which of several processes this is, and how many threads it gets."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.training.team import Place


def torchrun_place(environment: Mapping[str, str] = os.environ) -> "Place | None":
    """The place that torchrun gave this process; None if nobody did, or it is alone.

    Source: PyTorch, Torchrun (Elastic Launch), environment variables.
    """
    if int(environment.get("WORLD_SIZE", "1")) < 2 or "RANK" not in environment:
        return None
    from medseg.training.team import Place

    return Place(
        rank=int(environment["RANK"]),
        size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment.get("LOCAL_RANK", "0")),
        address=environment["MASTER_ADDR"],
        port=int(environment["MASTER_PORT"]),
        is_hosted=environment.get("TORCHELASTIC_USE_AGENT_STORE", "") == "True",
    )


def openmp_threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many threads OpenMP's programs are to take; None if nobody says so.

    Source: OpenMP 5.2, 21.1.2 OMP_NUM_THREADS: of a list the first number counts.
    """
    first = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None
