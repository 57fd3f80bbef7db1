"""What holds for every network. A member inherits `Contract` and says how a small one is made."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medseg.errors import WrongInput
from medseg.networks import build

_EXPORTED = {}
_SLOW = ("test_it_can_be_exported_for_any_batch", "test_onnx_runtime_gives_the_same_logits")
"""Quick only in the first number of axes of a kind of its own; the rest is marked slow."""


class Contract:
    """Tests of one kind of network.

    Attributes:
        promised: Numbers of spatial axes that it is promised for.
        refused: A grid that it does not take, and what the message says.
        is_own_kind: Whether some of its layers are in no other member.
    """

    promised = (2, 3)
    refused = ((17, 16), "multiples of")
    is_own_kind = True

    def spec(self, dims, *, in_channels=1, classes=3):
        """The settings of a small one."""
        raise NotImplementedError

    def grid(self, dims):
        """The grid of images for a small one."""
        return (16, 16) if dims == 2 else (16, 8, 8)

    def pytest_generate_tests(self, metafunc):
        if "dims" in metafunc.fixturenames:
            slow = metafunc.function.__name__ in _SLOW
            quick = self.promised[:1] if self.is_own_kind else ()
            metafunc.parametrize(
                "dims",
                [
                    pytest.param(dims, marks=[pytest.mark.slow] * (slow and dims not in quick))
                    for dims in self.promised
                ],
            )

    def image(self, dims, batch=2, channels=1):
        return torch.rand(batch, channels, *self.grid(dims))

    @pytest.mark.parametrize(("channels", "classes"), [(1, 2), (2, 3), (4, 106)])
    def test_training_and_prediction_give_logits_on_the_grid(self, dims, channels, classes):
        network = build(self.spec(dims, in_channels=channels, classes=classes))
        image = self.image(dims, channels=channels)
        expected = (2, classes, *self.grid(dims))
        finest = scales(network(image))[0]
        assert finest.shape == expected
        assert network.eval()(image).shape == expected

    def test_coarser_scales_are_trained_if_they_are_asked_for(self, dims):
        spec = self.spec(dims)
        if "deep_supervision" not in type(spec).model_fields:
            assert isinstance(build(spec)(self.image(dims)), torch.Tensor)
            return
        without = build(spec.model_copy(update={"deep_supervision": False}))
        assert isinstance(without(self.image(dims)), torch.Tensor)
        network = build(spec.model_copy(update={"deep_supervision": True}))
        sizes = [logits[0, 0].numel() for logits in network(self.image(dims))]
        assert len(sizes) > 1
        assert sizes == sorted(set(sizes), reverse=True)
        assert isinstance(network.eval()(self.image(dims)), torch.Tensor)

    def test_prediction_is_the_same_each_time(self, dims):
        network, image = build(self.spec(dims)).eval(), self.image(dims)
        with torch.no_grad():
            assert torch.equal(network(image), network(image))

    def test_every_sample_of_a_batch_counts_alone(self, dims):
        network, image = build(self.spec(dims)).eval(), self.image(dims, batch=3)
        with torch.no_grad():
            alone = torch.cat([network(sample[None]) for sample in image])
            torch.testing.assert_close(network(image), alone, atol=1e-4, rtol=1e-3)

    def test_any_slab_of_the_features_gives_its_logits(self, dims):
        network, image = build(self.spec(dims)).eval(), self.image(dims)
        with torch.no_grad():
            features, whole = network.features(image), network(image)
            planes = range(0, whole.shape[2], 5)
            slabs = [network.head(features[:, :, first : first + 5]) for first in planes]
            torch.testing.assert_close(torch.cat(slabs, dim=2), whole, atol=1e-5, rtol=1e-4)

    def test_the_gradient_reaches_every_parameter(self, dims):
        network = build(self.spec(dims))
        sum(logits.square().sum() for logits in scales(network(self.image(dims)))).backward()
        assert [name for name, p in network.named_parameters() if p.grad is None] == []

    def test_the_seed_decides_the_weights(self):
        dims = self.promised[0]

        def weights(seed):
            torch.manual_seed(seed)
            return torch.cat([p.detach().flatten() for p in build(self.spec(dims)).parameters()])

        assert torch.equal(weights(1), weights(1))
        assert not torch.equal(weights(1), weights(2))

    def test_weights_survive_safetensors(self, dims, tmp_path):
        one, other = build(self.spec(dims)).eval(), build(self.spec(dims)).eval()
        save_file(one.state_dict(), tmp_path / "weights.safetensors")
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        image = self.image(dims, batch=1)
        with torch.no_grad():
            assert torch.equal(one(image), other(image))

    def test_half_precision_gives_finite_logits(self, dims):
        network = build(self.spec(dims))
        with torch.autocast("cpu", torch.bfloat16):
            assert all(one.isfinite().all() for one in scales(network(self.image(dims))))

    def test_it_can_be_exported_for_any_batch(self, dims):
        network, program = self.exported(dims)
        image = self.image(dims, batch=3)
        with torch.no_grad():
            torch.testing.assert_close(
                program.module()(image), network(image), atol=1e-5, rtol=1e-4
            )

    def test_onnx_runtime_gives_the_same_logits(self, dims):
        """To 1e-4 of the largest, or of 1 where all are smaller; for batches of 1 and 3."""
        network, program = self.exported(dims)
        session = onnx_session(program)
        (given,) = session.get_inputs()
        for batch in (1, 3):
            image = self.image(dims, batch=batch)
            with torch.no_grad():
                expected = network(image).numpy()
            (found,) = session.run(None, {given.name: image.numpy()})
            largest = np.abs(expected).max()
            assert largest > 0.01
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, largest))

    def exported(self, dims):
        """A network in eval mode, and the deployed one as torch exports it for any batch.

        Its running statistics are no longer 0 and 1. Both are made once for all tests of a member.
        """
        key = (type(self), dims)
        if key not in _EXPORTED:
            network = build(self.spec(dims))
            with torch.no_grad():
                network(self.image(dims))
            batch = torch.export.Dim("batch", min=1, max=64)
            program = torch.export.export(
                network.deployed(), (self.image(dims),), dynamic_shapes=({0: batch},)
            )
            _EXPORTED[key] = network.eval(), program
        return _EXPORTED[key]

    def test_sizes_need_not_be_powers_of_two(self, dims):
        spec, grid = self.spec(dims), self.grid(dims)
        if spec.fixed_grid is None:
            grid = (3 * spec.divisor[0], *grid[1:])
        else:
            grid = (grid[0] * 3 // 2, *grid[1:])
            spec = type(spec).model_validate(spec.model_dump() | {"grid": grid})
        network = build(spec)
        assert all(one.isfinite().all() for one in scales(network(torch.rand(2, 1, *grid))))
        with torch.no_grad():
            assert network.eval()(torch.rand(1, 1, *grid)).shape == (1, spec.classes, *grid)

    def test_a_grid_that_does_not_fit_is_refused(self):
        grid, sentence = self.refused
        network = build(self.spec(len(grid)))
        with pytest.raises(WrongInput, match=sentence):
            network(torch.rand(1, 1, *grid))

    def test_wrong_channels_or_axes_are_refused(self, dims):
        network = build(self.spec(dims))
        sentence = f"1 channels, {dims} spatial axes"
        with pytest.raises(WrongInput, match=sentence):
            network(self.image(dims, channels=2))
        with pytest.raises(WrongInput, match=sentence):
            network(self.image(dims)[..., 0])

    def test_its_settings_survive_json(self, dims):
        spec = self.spec(dims)
        assert type(spec).model_validate_json(spec.model_dump_json()) == spec


def onnx_session(program):
    """ONNX Runtime on one thread, with a network that torch exported."""
    import onnxruntime  # slow to load

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def scales(output):
    """Logits of each resolution, finest first."""
    return (output,) if isinstance(output, torch.Tensor) else output
