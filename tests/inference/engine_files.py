"""Engines of which only the files are there."""

from medseg.inference.exported import (
    EngineRecord,
    Exported,
    Parity,
    Place,
    files_in,
    home_for_writing,
)

RUNTIME = "openvino 2026.4.1"


def put(bundle, kind="openvino", precision="fp32", folder=None, **facts):
    """An engine of one file that holds nothing."""
    folder = folder or home_for_writing(bundle) / kind / precision
    folder.mkdir(parents=True)
    (folder / "0.xml").write_bytes(b"a network")
    parity = Parity(
        patches=4, source="made up", against="fp32", largest_logit=1, largest_difference=0,
        root_mean_square=0, dice=1,
    )  # fmt: skip
    record = EngineRecord(
        kind=kind, precision=precision, weights_sha256=bundle.weights_sha256,
        place=Place.here(RUNTIME), created="2026-01-01", files=files_in(folder), networks=1,
        parity=parity, patch_ms=1, torch_ms=2, threads=1,
    ).model_copy(update=facts)  # fmt: skip
    (folder / "engine.json").write_text(record.model_dump_json())
    return Exported(folder, record)
