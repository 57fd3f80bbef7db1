"""A map of names is one to one, and what does not fit is said."""

import pytest
import torch

from medseg.errors import WrongCheckpoint
from medseg.weights.names import NameMap, fill, numbered, shape_of

OURS = {
    "a.weight": torch.empty(2, 3, device="meta"),
    "a.bias": torch.empty(2, device="meta"),
    "a.b.weight": torch.empty(4, device="meta"),
}
THEIRS = {"x.weight": torch.ones(2, 3), "x.bias": torch.zeros(2), "y.weight": torch.ones(4)}
NAMES = NameMap({"a": "x", "a.b": "y"}, dead=(r"^copy\.",))


def filled(state, names=NAMES, skip=()):
    return fill(state, names, OURS, origin="their code", skip=skip)


def test_the_longest_module_counts():
    assert NAMES.names(OURS) == {
        "a.weight": "x.weight",
        "a.bias": "x.bias",
        "a.b.weight": "y.weight",
    }


def test_all_tensors_find_their_home():
    done = filled(THEIRS)
    assert torch.equal(done.weights["a.b.weight"], THEIRS["y.weight"])
    assert (done.missing, done.homeless, done.dead) == ((), (), ())


def test_the_rest_is_named():
    state = THEIRS | {"copy.x": torch.ones(1), "new.weight": torch.ones(1)}
    del state["x.bias"]
    done = filled(state, skip=["a.b.weight"])
    assert done.missing == ("a.bias", "a.b.weight")
    assert done.homeless == ("new.weight",)
    assert done.dead == ("copy.x",)


def test_layouts_come_before_shapes_are_compared():
    names = NameMap(NAMES.modules, layouts={r"^x\.weight$": lambda x: x.T})
    state = THEIRS | {"x.weight": torch.arange(6.0).reshape(3, 2)}
    assert filled(state, names).weights["a.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    with pytest.raises(WrongCheckpoint, match=r"x\.weight of shape \(3, 2\) where \(2, 3\) fits"):
        filled(state)


def test_half_precision_becomes_single():
    done = filled({name: tensor.half() for name, tensor in THEIRS.items()})
    assert done.weights["a.weight"].dtype == torch.float32


def test_what_is_no_number_is_refused():
    with pytest.raises(WrongCheckpoint, match=r"others in y\.weight"):
        filled(THEIRS | {"y.weight": torch.tensor([1, 2, float("nan"), 4])})


def test_counting_and_shapes():
    state = {"stages.0.w": torch.ones(2), "stages.11.w": torch.ones(2), "stage.12": torch.ones(2)}
    assert numbered(state, r"stages\.(\d+)\.") == 12
    assert numbered(state, r"blocks\.(\d+)\.") == 0
    assert shape_of(state, "stage.12", "x") == (2,)
    with pytest.raises(WrongCheckpoint, match="names of their code hold stages"):
        shape_of(state, "stages.1.w", "their code")
