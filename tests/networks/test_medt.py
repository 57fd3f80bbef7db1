import pytest
import torch
from contract import Contract
from counting import gmacs, parameters

from medseg.networks.medt import MedT, cut, joined
from medseg.specs.transformers import MedTSpec

KINDS = ("medt", "medt_gated", "medt_axial", "medt_logo")


def small(kind="medt", dims=2, **changes):
    settings = {
        "kind": kind, "dims": dims, "in_channels": 1, "classes": 3,
        "grid": (64,) + (32,) * (dims - 1), "width": 2, "heads": 2, "stem_width": 4,
        "local_parts": 2,
    }  # fmt: skip
    return MedTSpec(**(settings | changes))


class TestContract(Contract):
    kind = "medt"
    refused = ((64, 64), r"grids of exactly \(64, 32\)")

    def spec(self, dims, **changes):
        return small(self.kind, dims, grid=self.grid(dims), blocks=(1, 1, 1, 1), **changes)

    def grid(self, dims):
        return (64,) + (32,) * (dims - 1)


class TestContractOfOneBranch(TestContract):
    kind = "medt_gated"
    refused = ((64, 64), r"grids of exactly \(32, 16\)")

    def grid(self, dims):
        return (32,) + (16,) * (dims - 1)


class TestContractWithoutGates(TestContractOfOneBranch):
    kind = "medt_axial"
    promised = (2,)
    is_own_kind = False


class TestContractOfTwoBranchesWithoutGates(TestContract):
    kind = "medt_logo"
    promised = (2,)
    is_own_kind = False


@pytest.mark.parametrize(
    ("kind", "count", "giga"),
    [
        ("medt", 1_560_140, 1.15),
        ("medt_gated", 1_326_914, 0.39),
        ("medt_axial", 1_326_850, 0.39),
        ("medt_logo", 1_529_532, 1.16),
    ],
)
def test_parameters_and_multiplications_of_the_paper(kind, count, giga):
    with torch.device("meta"):
        network = MedT(MedTSpec.paper(kind))
    assert parameters(network) == count
    assert gmacs(network, 3, (128, 128)) == pytest.approx(giga, rel=0.01)


def test_what_is_never_used_is_held_for_parity_only():
    def count(kind, unused):
        with torch.device("meta"):
            return parameters(MedT(small(kind, unused_parameters=unused)))

    head = (4 + 1) * 3
    attention_blocks = sum(
        n * (w * w + w) for n, w in zip((1, 2, 4, 1), (4, 8, 16, 32), strict=True)
    )
    assert count("medt", True) - count("medt", False) == head + attention_blocks
    assert count("medt_logo", True) - count("medt_logo", False) == head
    assert count("medt_gated", True) == count("medt_gated", False)


@pytest.mark.parametrize("parts", [2, 4])
def test_the_local_branch_reaches_every_corner_of_the_image(parts):
    grid = (32 * parts, 32 * parts)
    network = MedT(small("medt_logo", grid=grid, local_parts=parts)).eval()
    image = torch.rand(1, 1, *grid)
    before = network.parts(cut(image, parts))
    assert before.shape[0] == parts**2
    last = image.clone()
    last[:, :, -1, -1] += 5
    after = network.parts(cut(last, parts))
    changed = (before - after).abs().flatten(1).sum(1) > 1e-6
    assert changed.tolist() == [False] * (parts**2 - 1) + [True]


def test_at_256_pixels_no_part_is_left_out():
    with torch.device("meta"):
        network = MedT(MedTSpec.paper().model_copy(update={"grid": (256, 256)}))
        seen = []
        network.parts.register_forward_hook(lambda _, given, out: seen.append(given[0].shape))
        network.eval()(torch.empty(1, 3, 256, 256))
    assert seen == [(16, 3, 64, 64)], "sixteen parts of 64 pixels cover 256 x 256"


@pytest.mark.parametrize("dims", [2, 3])
def test_parts_are_put_back_where_they_were(dims):
    image = torch.rand(2, 3, *(4, 8, 12)[:dims])
    parts = cut(image, 2)
    assert parts.shape == (2 * 2**dims, 3, *(2, 4, 6)[:dims])
    assert torch.equal(parts[1], image[0][(slice(None), *(slice(0, 2),) * 1)][:, :, 4:] if dims == 2
                       else image[0, :, 0:2, 0:4, 6:])  # fmt: skip
    assert torch.equal(joined(parts, 2), image)


def gates_of(network):
    return [p for name, p in network.named_parameters() if ".gates." in name]


def test_gates_are_frozen_for_the_first_share_of_a_training():
    network = MedT(small(gates_frozen_share=0.1))
    gates = gates_of(network)
    assert len(gates) == 4 * 2 * 3, "four gates, two axes, three blocks of the global branch"
    for share, learns in ((0.0, False), (0.09, False), (0.1, True), (1.0, True)):
        network.at_share(share)
        assert all(gate.requires_grad == learns for gate in gates)


def test_frozen_gates_keep_their_values_and_the_rest_learns():
    network = MedT(small("medt_gated"))
    network.freeze_gates()
    before = [gate.item() for gate in gates_of(network)]
    weights = network.segmentation.weight.clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.rand(1, 1, 64, 32)).square().sum().backward()
    optimizer.step()
    assert [gate.item() for gate in gates_of(network)] == before
    assert not torch.equal(network.segmentation.weight, weights)
    network.release_gates()
    network(torch.rand(1, 1, 64, 32)).square().sum().backward()
    optimizer.step()
    assert [gate.item() for gate in gates_of(network)] != before


def test_only_two_kinds_have_gates():
    with torch.device("meta"):
        gated = [bool(gates_of(MedT(small(kind)))) for kind in KINDS]
    assert gated == [True, True, False, False]
