import pytest
from pydantic import TypeAdapter, ValidationError

from medseg.specs import PAPERS, NetworkSpec, PlainUNetSpec, ResEncUNetSpec, UNet3DSpec, UNetSpec

STAGES = {
    "dims": 2,
    "in_channels": 1,
    "classes": 2,
    "features": (4, 8),
    "strides": ((1, 1), (2, 2)),
}
KERNELS = {"kernels": ((3, 3), (3, 3))}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": (4, 8, 16)}, "one entry a stage"),
        ({"features": (4,), "strides": ((1, 1),)}, "at least 2 items"),
        ({"strides": ((1, 1), (2, 2, 2))}, "one number for each spatial axis"),
        ({"strides": ((2, 2), (2, 2))}, "first stage keeps the resolution"),
        ({"strides": ((1, 1), (0, 2))}, "are positive"),
        ({"padding": "full"}, "'same' or 'valid'"),
    ],
)
def test_stages_fit_together(changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        UNetSpec(**(STAGES | changes))


@pytest.mark.parametrize(
    ("kind", "counts"),
    [(PlainUNetSpec, "encoder_convs"), (ResEncUNetSpec, "encoder_blocks")],
)
def test_every_stage_of_nnunets_has_kernels_and_counts(kind, counts):
    given = STAGES | KERNELS | {counts: (2, 2), "decoder_convs": (2,)}
    assert kind(**given).divisor == (2, 2)
    with pytest.raises(ValidationError, match=f"{counts} has one entry a stage"):
        kind(**(given | {counts: (2,)}))
    with pytest.raises(ValidationError, match="decoder_convs has one entry fewer"):
        kind(**(given | {"decoder_convs": (2, 2)}))
    with pytest.raises(ValidationError, match="kernels have one number"):
        kind(**(given | {"kernels": ((3, 3), (3, 3, 3))}))


@pytest.mark.parametrize("size", range(160, 240))
def test_valid_tiles_are_the_smallest_plus_multiples(size):
    spec = UNetSpec.paper()
    fits = size >= 188 and (size - 188) % 16 == 0
    assert (spec.output_grid((size, 572)) is not None) == fits
    if fits:
        assert spec.output_grid((size, 572)) == (size - 184, 388)


def test_padded_convolutions_keep_the_grid():
    spec = UNetSpec(**STAGES)
    assert spec.keeps_grid
    assert spec.output_grid((6, 4)) == (6, 4)
    assert spec.output_grid((5, 4)) is None
    assert spec.smallest_grid == (2, 2)
    assert not UNet3DSpec.paper().keeps_grid
    assert UNet3DSpec.paper().output_grid((132, 132, 116)) == (44, 44, 28)


@pytest.mark.parametrize("name", PAPERS)
def test_every_paper_survives_json_under_its_kind(name):
    paper = PAPERS[name]
    spec = paper.spec()
    assert spec.kind == name
    assert len(paper.grid) == spec.dims
    adapter = TypeAdapter(NetworkSpec)
    assert adapter.validate_json(adapter.dump_json(spec)) == spec


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        TypeAdapter(NetworkSpec).validate_python(STAGES | {"kind": "v_net"})
