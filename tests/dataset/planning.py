"""Fingerprints of data sets that do not exist, for planning tests."""

from typing import Any

from medseg.dataset.description import Channel
from medseg.dataset.fingerprint import ChannelStatistics, Fingerprint
from medseg.specs import Budget
from medseg.volume.labels import Label

STATISTICS = ChannelStatistics(
    mean=100.0,
    std=50.0,
    minimum=-900.0,
    maximum=250.0,
    percentile_00_5=-50.0,
    median=95.0,
    percentile_99_5=240.0,
)

GPU_DAY = Budget(seconds=86_400, memory_bytes=8 << 30, device="cuda", gflops=20_000)
CPU_QUARTER = Budget(seconds=900, memory_bytes=8 << 30, cores=2, gflops=400)


def make_fingerprint(
    spacings_mm=((1.0, 1.0, 1.0),) * 180,
    grid_sizes=((35, 50, 36),) * 180,
    modalities=("MR",),
    names=("anterior", "posterior"),
    **facts: Any,
) -> Fingerprint:
    """Of the hippocampus data set, unless told otherwise."""
    given = {
        "dataset": "made up",
        "cases": len(spacings_mm),
        "spacings_mm": spacings_mm,
        "grid_sizes": grid_sizes,
        "channels": tuple(Channel(name=f"c{n}", modality=m) for n, m in enumerate(modalities)),
        "statistics": (STATISTICS,) * len(modalities),
        "labels": tuple(Label(value=n + 1, name=name) for n, name in enumerate(names)),
        "class_voxels": (1000.0,) * (len(names) + 1),
        "foreground_share": 0.05,
        "nonzero_share": 1.0,
        "data_hash": "0" * 64,
    }
    return Fingerprint(**(given | facts))
