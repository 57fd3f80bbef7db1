"""Costs in closed form, against numbers counted by hand and by nnU-Net."""

import pytest

from medseg.dataset.cost import (
    feature_values,
    gmacs,
    muon_gflop,
    parameter_count,
    training_gflop,
    training_memory_bytes,
)
from medseg.dataset.topology import plain_unet, topology
from medseg.specs import PlainUNetSpec

HIPPOCAMPUS = plain_unet(topology((1.0, 1.0, 1.0), (40, 56, 40)), base=32, in_channels=1, classes=3)


def test_nnunets_network_for_the_hippocampus():
    assert parameter_count(HIPPOCAMPUS) == 5_603_177
    assert 2 * gmacs(HIPPOCAMPUS, (40, 56, 40)) == pytest.approx(38.3, abs=0.05)
    assert training_gflop(HIPPOCAMPUS, (40, 56, 40), 9) == pytest.approx(1034, abs=1)


def test_a_network_small_enough_to_count_by_hand():
    spec = PlainUNetSpec(
        dims=2,
        in_channels=1,
        classes=2,
        features=(2, 4),
        kernels=((3, 3), (3, 3)),
        strides=((1, 1), (2, 2)),
        encoder_convs=(1, 1),
        decoder_convs=(1,),
    )
    # Each convolution with bias and two numbers a channel of the normalisation behind it.
    encoder = (9 * 1 * 2 + 3 * 2) + (9 * 2 * 4 + 3 * 4)
    decoder = (4 * 4 * 2 + 2) + (9 * 4 * 2 + 3 * 2) + (2 + 1) * 2
    assert parameter_count(spec) == encoder + decoder
    fine, coarse = 8 * 8, 4 * 4
    macs = 18 * fine + 72 * coarse + 4 * 2 * fine + 72 * fine + 2 * 2 * fine
    assert gmacs(spec, (8, 8)) * 1e9 == pytest.approx(macs)
    assert feature_values(spec, (8, 8)) == 2 * fine + 4 * coarse + (2 + 2 + 2) * fine


def test_the_one_slice_of_a_2d_patch_does_not_count():
    spec = plain_unet(topology((1.0, 1.0), (32, 32)), base=8, in_channels=1, classes=2)
    assert gmacs(spec, (32, 32, 1)) == gmacs(spec, (32, 32))


def test_coarser_logits_cost_weights_only_when_they_are_trained():
    without = HIPPOCAMPUS.model_copy(update={"deep_supervision": False})
    coarser = (128 + 1) * 3 + (64 + 1) * 3
    assert parameter_count(HIPPOCAMPUS) - parameter_count(without) == coarser


def test_memory_grows_with_the_batch_and_a_cpu_takes_twice_a_gpus():
    patch = (40, 56, 40)
    one = training_memory_bytes(HIPPOCAMPUS, patch, 1, device="cuda")
    assert training_memory_bytes(HIPPOCAMPUS, patch, 3, device="cuda") == pytest.approx(3 * one)
    weights = 20 * 5_603_177
    on_cpu = training_memory_bytes(HIPPOCAMPUS, patch, 1, device="cpu")
    assert on_cpu == pytest.approx(2 * one + weights, rel=1e-6)


def test_nnunets_reference_fills_eight_gibibytes():
    spec = plain_unet(topology((1.0, 1.0, 1.0), (128, 128, 128)), base=32, in_channels=1, classes=3)
    share = feature_values(spec, (128, 128, 128)) / 560e6
    memory = training_memory_bytes(spec, (128, 128, 128), 2, device="cuda")
    assert memory / 2**33 == pytest.approx(share, rel=0.001)


def test_muon_costs_by_the_sides_of_its_matrices():
    spec = PlainUNetSpec(
        dims=3, in_channels=2, classes=2, features=(4, 8), kernels=((3, 3, 3),) * 2,
        strides=((1, 1, 1), (2, 2, 2)), encoder_convs=(1, 1), decoder_convs=(1,),
        deep_supervision=False,
    )  # fmt: skip
    # Kernels of 27 from 2 to 4, 4 to 8 and 8 to 4 channels, and one of 8 from 8 to 4.
    sides = [(4, 2 * 27), (8, 4 * 27), (4, 8 * 27), (8, 4 * 8)]
    flop = sum(4 * rows**2 * columns + 34 * rows**3 for rows, columns in sides)
    assert muon_gflop(spec) == pytest.approx(flop / 1e9, rel=0.05)  # a layer's norm counts too
