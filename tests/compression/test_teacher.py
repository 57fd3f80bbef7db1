"""A teacher beside a network that learns: what it says, what it refuses, what it leaves."""

import pytest
import torch
from exports import make_bundle, make_plan

from medseg.bundle import Bundle, build_members
from medseg.compression import teacher as teachers
from medseg.compression.imitation import ImitationSpec
from medseg.compression.students import Student, student_plan
from medseg.compression.teacher import Teacher, looking, require_one_plan
from medseg.errors import NoEngine, WrongInput
from medseg.inference.engines import TorchMaker
from medseg.networks import build
from medseg.networks.start import Start
from medseg.training.module import Learner


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 1, 16, 16, 8, generator=generator)
    return image, torch.randint(0, 3, (2, 16, 16, 8), generator=generator)


def learner(teacher, student="plain_unet@0.5", *, plan=None, **facts):
    plan = plan or student_plan(make_plan(), Student(*_words(student)))
    return Learner(plan, device="cpu", precision="fp32", seed=0, guide=teacher, **facts)


def _words(student):
    arch, _, share = student.partition("@")
    return arch, float(share or 1)


@pytest.fixture(scope="module")
def pair():
    return make_bundle(members=2)


def test_an_ensemble_teaches_by_the_mean_of_its_logits(pair):
    image, _ = batch()
    expected = torch.stack([m(image) for m in build_members(pair.configurations[0])]).mean(0)
    found, features = Teacher(pair, ImitationSpec(), device="cpu").seen(image, features=False)
    assert torch.allclose(found, expected, atol=1e-5)
    assert features is None
    alone, _ = Teacher(pair, ImitationSpec(networks=1), device="cpu").seen(image, features=True)
    assert torch.allclose(alone, build_members(pair.configurations[0])[0](image), atol=1e-5)


class Maker:
    """Engines that are torch underneath, and count how often they look."""

    name, precision = "openvino", "int8"

    def __init__(self):
        self.looks = 0

    def __call__(self, configuration):
        made = [self._counted(one) for one in TorchMaker(device="cpu")(configuration)]
        return tuple(made)

    def _counted(self, engine):
        run = engine.run

        def counted(batch):
            self.looks += 1
            return run(batch)

        engine.run = counted
        return engine


def test_engines_look_in_place_of_networks_and_give_no_features(pair):
    image, _ = batch()
    maker = Maker()
    plain = Teacher(pair, ImitationSpec(), device="cpu")
    quick = Teacher(pair, ImitationSpec(), device="cpu", maker=maker)
    expected, _ = plain.seen(image, features=False)
    found, features = quick.seen(image, features=True)
    assert torch.allclose(found, expected, atol=1e-4)
    assert features is None
    assert maker.looks == 2
    assert quick.spec.features_weight == 0
    assert quick.identity == f"{pair.identity} (openvino int8)"
    assert (plain.engine, quick.engine) == ("torch", "openvino int8")
    Teacher(pair, ImitationSpec(networks=1), device="cpu", maker=maker).seen(image, features=False)
    assert maker.looks == 3


def test_a_step_is_the_same_whoever_looks(pair):
    spec = ImitationSpec(features_weight=0)
    one = learner(Teacher(pair, spec, device="cpu"))
    other = learner(Teacher(pair, spec, device="cpu", maker=Maker()))
    losses = [taught.step(batch(), 1e-2).loss for taught in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_who_looks_is_the_fastest_engine_and_torch_without_one(pair, monkeypatch):
    assert looking(pair, "auto", device="cpu") is None
    assert looking(pair, "torch", device="cpu") is None
    with pytest.raises(NoEngine, match="exported before it is used"):
        looking(pair, "openvino", device="cpu")
    maker = Maker()
    monkeypatch.setattr(teachers, "choose_engines", lambda *_, **__: maker)
    assert looking(pair, "auto", device="cpu") is maker
    assert looking(pair, "auto", device="cuda") is None


def test_nothing_is_left_to_learn_from_oneself():
    """A student with its teacher's weights has a lesson of zero: no projection is between them."""
    bundle = make_bundle()
    teacher = Teacher(bundle, ImitationSpec(), device="cpu")
    network = build(bundle.plan.network)
    Start(bundle.plan.network, bundle.members[0]).fill(network, bundle.plan.network)
    lesson = teacher.lesson(network.train(), bundle.plan)
    image, labels = batch()
    logits = network(image)[0]
    assert float(lesson(image, logits, labels).detach()) == pytest.approx(0, abs=1e-5)
    assert [name for name, _ in lesson.named_parameters()] == []


@pytest.mark.parametrize("student", ["plain_unet@0.5", "resenc_unet@0.5"])
def test_a_projection_learns_with_the_student_and_is_not_kept(pair, student):
    taught = learner(Teacher(pair, ImitationSpec(), device="cpu"), student)
    weight = taught.state()["network.lesson.projection.weight"].clone()
    taught.step(batch(), 1e-2)
    assert not torch.equal(weight, taught.state()["network.lesson.projection.weight"])
    plan = student_plan(make_plan(), Student(*_words(student)))
    assert set(taught.averaged_weights()) == set(build(plan.network).state_dict())


def test_without_features_nothing_is_projected(pair):
    taught = learner(Teacher(pair, ImitationSpec(features_weight=0), device="cpu"))
    taught.step(batch(), 1e-2)
    assert not any("lesson" in name for name in taught.state())


def test_a_lesson_changes_the_step_and_none_of_no_weight_does_not(pair):
    silent = ImitationSpec(logits_weight=0, features_weight=0)
    plain, quiet = learner(None), learner(Teacher(pair, silent, device="cpu"))
    taught = learner(Teacher(pair, ImitationSpec(), device="cpu"))
    losses = [one.step(batch(), 1e-2).loss for one in (plain, quiet, taught)]
    assert losses[0] == losses[1] < losses[2]
    assert all(torch.equal(plain.state()[name], t) for name, t in quiet.state().items())


def test_it_goes_on_bit_for_bit(pair):
    def fresh():
        return learner(Teacher(pair, ImitationSpec(), device="cpu"))

    whole, first = fresh(), fresh()
    for n in range(4):
        whole.step(batch(n), 1e-2)
        if n < 2:
            first.step(batch(n), 1e-2)
    second = fresh()
    second.restore(first.state(), first.scaler_state(), 2)
    for n in (2, 3):
        second.step(batch(n), 1e-2)
    assert second.steps == whole.steps
    assert all(torch.equal(whole.state()[name], t) for name, t in second.state().items())


def test_halves_of_a_batch_get_the_lesson_of_the_whole(pair):
    """Voxels count alike in both: no boundary weight, no features."""
    spec = ImitationSpec(features_weight=0, boundary_weight=0)
    plan = student_plan(make_plan(), Student("plain_unet", 0.5))
    whole, cut = (learner(Teacher(pair, spec, device="cpu"), plan=plan) for _ in range(2))
    cut.parts = 2
    assert cut.step(batch(), 1e-2).loss == pytest.approx(whole.step(batch(), 1e-2).loss, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"spacing_mm": (2.0, 2.0, 2.0)}, "spacing"),
        ({"patch_size": (8, 8, 8)}, "patch_size"),
        ({"labels": make_plan().labels[::-1]}, "labels"),
    ],
)
def test_a_student_of_another_plan_is_refused(pair, changes, named):
    plan = make_plan().model_copy(update=changes)
    with pytest.raises(WrongInput, match=rf"sees the patches of its teacher.*{named}"):
        learner(Teacher(pair, ImitationSpec(), device="cpu"), plan=plan)


def test_networks_of_several_plans_do_not_teach_together(pair):
    flat = make_bundle(make_plan(2))
    both = Bundle(pair.plan, pair.provenance, pair.members, further=flat.configurations)
    with pytest.raises(WrongInput, match="one network, or several of one plan"):
        Teacher(both, ImitationSpec(), device="cpu")
    require_one_plan(pair)
