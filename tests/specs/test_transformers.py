import pytest
from pydantic import ValidationError

from medseg.specs import MedNeXtSpec, MedTSpec, SwinUNETRSpec, TransUNetSpec, UNETRSpec
from medseg.specs.settings import fitting_grid

CLASSES = [MedNeXtSpec, MedTSpec, SwinUNETRSpec, TransUNetSpec, UNETRSpec]
FIXED = [MedTSpec, UNETRSpec]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("grid", [(40, 56, 40), (20, 256, 256), (7, 7, 7)])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_scaled_settings_are_valid_and_survive_json(kind, grid, dims, share):
    spec = kind.scaled(dims=dims, grid=grid[:dims], in_channels=2, classes=5, width_share=share)
    assert (spec.dims, spec.in_channels, spec.classes) == (dims, 2, 5)
    assert kind.model_validate_json(spec.model_dump_json()) == spec
    if kind in FIXED:
        assert spec.grid == fitting_grid(grid[:dims], spec.divisor)


@pytest.mark.parametrize("kind", CLASSES)
def test_scaled_to_the_whole_width_is_the_paper_s(kind):
    paper = kind.paper()
    grid = getattr(paper, "grid", (128,) * paper.dims)
    spec = kind.scaled(
        dims=paper.dims, grid=grid, in_channels=paper.in_channels, classes=paper.classes
    )
    same = {"unused_parameters", "deep_supervision"}
    assert spec.model_dump(exclude=same) == paper.model_dump(exclude=same)


@pytest.mark.parametrize("kind", ["medt", "medt_gated", "medt_axial", "medt_logo"])
def test_four_kinds_of_medt(kind):
    assert MedTSpec.paper(kind).kind == kind
    assert MedTSpec.paper(kind).is_gated == (kind in ("medt", "medt_gated"))
    assert MedTSpec.paper(kind).has_local_branch == (kind in ("medt", "medt_logo"))


def test_gates_wait_for_ten_of_four_hundred_epochs():
    assert MedTSpec.paper().gates_frozen_share == 10 / 400


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        (TransUNetSpec, {"grid": (225, 224)}, "grid is a multiple of"),
        (TransUNetSpec, {"grid": (224,)}, "a positive number for each spatial axis"),
        (TransUNetSpec, {"heads": 7}, "token_width is a multiple of heads"),
        (UNETRSpec, {"grid": (96, 96, 90)}, "grid is a multiple of"),
        (UNETRSpec, {"heads": 7}, "token_width is a multiple of heads"),
        (SwinUNETRSpec, {"heads": (3, 6, 12, 7)}, "multiple of its heads"),
        (SwinUNETRSpec, {"features": 50}, "multiple of 12"),
        (MedTSpec, {"grid": (96, 96)}, r"multiple of \(64, 64\)"),
        (MedTSpec, {"width": 6}, "width is a multiple of heads"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(kind, changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        kind(**(kind.paper().model_dump() | changes))
