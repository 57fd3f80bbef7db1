"""Each checkpoint is known by its names, and by no other origin's mark."""

import re

import pytest
import torch
from published import attention_gates, google, mednext, medt, nnunet, transunet

from medseg.errors import WrongCheckpoint
from medseg.weights.convert import convert
from medseg.weights.origins import ORIGINS, find_origin, require_convertible

PUBLISHED = {
    "plain_unet": nnunet(residual=False),
    "resenc_unet": nnunet(residual=True),
    "attention_unet": attention_gates(),
    "transunet": transunet(),
    "medt": medt("medt"),
    "medt_gated": medt("medt_gated"),
    "medt_axial": medt("medt_axial"),
    "medt_logo": medt("medt_logo"),
    "mednext": mednext(),
}


def empty(shapes):
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_checkpoint_is_of_one_kind(kind):
    state = empty(PUBLISHED[kind])
    assert find_origin(state, kind).kind == kind
    for other in set(PUBLISHED) - {kind}:
        with pytest.raises(WrongCheckpoint, match=f"Say --arch {kind}"):
            find_origin(state, other)


def test_no_two_origins_claim_one_file():
    for shapes in (*PUBLISHED.values(), google()):
        marks = {one.mark for one in ORIGINS if any(re.search(one.mark, name) for name in shapes)}
        assert len(marks) == 1


def test_strangers_are_told_whose_names_are_read():
    with pytest.raises(WrongCheckpoint, match=r"names of MIC-DKFZ/MedNeXt or MONAI's MedNeXt"):
        find_origin({"conv.weight": torch.ones(1)}, "mednext")


def test_a_kind_that_nobody_published_is_told_before_a_file_is_read(tmp_path):
    sentence = r"Checkpoints of attention_unet, .* --arch unet3d"
    with pytest.raises(WrongCheckpoint, match=sentence):
        require_convertible("unet3d")
    with pytest.raises(WrongCheckpoint, match=sentence):
        convert([tmp_path / "nothing.pth"], "unet3d")
