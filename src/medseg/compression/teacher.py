"""A bundle that teaches a smaller network: its logits and features on the student's own batches.

A teacher looks at every batch. Where its bundle was exported, an engine can look in its place: the
same logits within the bounds of its precision, in INT8 in about a quarter of the time, but no
features.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medseg.bundle import Bundle, build_members
from medseg.compression.imitation import (
    ImitationSpec,
    divergence,
    feature_distance,
    in_structures,
    voxel_weights,
)
from medseg.dataset.plan import Plan
from medseg.errors import WrongInput
from medseg.inference.engine import Engine
from medseg.inference.engines import EngineMaker, EngineName, activation_of, choose_engines
from medseg.inference.torch_engine import computing_in
from medseg.networks.layers import LAYERS
from medseg.networks.network import Network
from medseg.progress import SILENT, Progress
from medseg.tensors import Features, Image, Labels, Logits
from medseg.training.guide import Lesson

_FACTS = (
    "channels", "labels", "regions", "normalisations", "orientation", "keeps_axes", "spacing_mm",
    "patch_size", "conventions",
)  # fmt: skip
"""What a student's plan must have in common with its teacher's, so that both see the same."""


class Teacher:
    """A bundle as a guide; see `medseg.training.guide`.

    Args:
        bundle: Trained networks of one plan; of several, the mean of their logits teaches.
        spec: What is imitated.
        device: Where they compute, "cpu" or "cuda".
        maker: Who makes engines that look in their place; see `looking`. None for torch. Engines
            give no features, so that none are imitated then.

    Attributes:
        identity: Name and hash of the bundle, and the engine if it is not torch: what a student has
            learned from one it does not go on to learn from another.
        engine: What looks, such as "torch" or "openvino int8".

    Raises:
        WrongInput: If its networks do not share one plan, or see more than an image.
    """

    def __init__(
        self,
        bundle: Bundle,
        spec: ImitationSpec,
        *,
        device: str,
        maker: EngineMaker | None = None,
    ) -> None:
        require_one_plan(bundle)
        self.identity, self.origin, self.engine = bundle.identity, bundle.provenance, "torch"
        self.plan, self.spec = bundle.plan, spec
        (configuration,) = bundle.configurations
        self.activation = activation_of(configuration)
        self._members: tuple[Network, ...] = ()
        self._engines: tuple[Engine, ...] = ()
        if maker is None:
            members = build_members(configuration)[: spec.networks]
            self._members = tuple(one.to(device).requires_grad_(False) for one in members)
        else:
            self.engine = f"{maker.name} {maker.precision}"
            self.identity = f"{bundle.identity} ({self.engine})"
            self.spec = spec.model_copy(update={"features_weight": 0.0})
            self._engines = maker(configuration)[: spec.networks]

    @property
    def width(self) -> int:
        """Channels of the features that are imitated."""
        return _width(self._members[0])

    def lesson(self, network: Network, plan: Plan) -> "Imitation":
        """The lesson of a student.

        Args:
            network: The student, which is looked into from now on.
            plan: Its plan.

        Raises:
            WrongInput: If it sees other patches than the teacher, or finds other structures.
        """
        differing = [fact for fact in _FACTS if getattr(plan, fact) != getattr(self.plan, fact)]
        if plan.network.classes != self.plan.network.classes:
            differing.append("classes")
        if differing:
            raise WrongInput(
                "A student sees the patches of its teacher and finds the same structures.",
                received=f"a plan with other {', '.join(differing).replace('_mm', '')}",
                cure="Take the teacher's plan: leave --plan out.",
            )
        return Imitation(self, network, ignored=plan.ignored_class)

    def seen(self, image: Image, *, features: bool) -> tuple[Logits, Features | None]:
        """What the teacher makes of a batch, without gradients.

        Returns:
            The mean of its networks' logits, and the features of the first one if asked for.
            Features of several networks have nothing in common that could be averaged, and engines
            give none.
        """
        if self._engines:
            batch = image.float().cpu().numpy()
            looks = [torch.from_numpy(engine.run(batch)) for engine in self._engines]
            return torch.stack(looks).mean(dim=0).to(image.device), None
        kept: Features | None = None
        logits: list[Tensor] = []
        precision = "fp32" if image.device.type == "cpu" else _fastest(image.device)
        with torch.no_grad(), computing_in(precision, image.device):
            for member in self._members:
                found = member.features(image)
                logits.append(member.head(found).float())
                kept = found if features and kept is None else kept
        return torch.stack(logits).mean(dim=0), kept


class Imitation(Lesson):
    """The student's logits shall be the teacher's, and so shall its features, in structures.

    Where the last decoder stages are not equally wide, a 1x1 convolution that learns with the
    student brings its features to the teacher's width.

    Args:
        teacher: Whom it imitates.
        network: The student; what comes to its head is kept while it learns.
        ignored: Class index of voxels that nobody has judged.

    Source:
        Logits: Hinton et al. 2015. Features, within regions: Qin et al., Efficient Medical Image
        Segmentation Based on Knowledge Distillation, IEEE TMI 40, 2021, whose region affinity is
        replaced by cosines, voxel by voxel.
    """

    def __init__(self, teacher: Teacher, network: Network, *, ignored: int | None) -> None:
        super().__init__()
        self._teacher, self._spec, self._ignored = (teacher,), teacher.spec, ignored
        self._features: list[Features] = []
        self.projection: nn.Module | None = None
        if teacher.spec.features_weight > 0:
            network.head.register_forward_pre_hook(self._keep)
            ours, theirs = _width(network), teacher.width
            self.projection = (
                nn.Identity()
                if ours == theirs
                else LAYERS[teacher.plan.network.dims].conv(ours, theirs, 1, bias=False)
            )

    def _keep(self, head: nn.Module, given: Sequence[Features]) -> None:
        """Keep the features of the last decoder stage until the lesson takes them."""
        if head.training:
            self._features = [given[0]]

    def forward(self, image: Image, logits: Logits, labels: Labels) -> Float[Tensor, ""]:
        """See `Lesson.forward`."""
        teacher, spec = self._teacher[0], self._spec
        expected, features = teacher.seen(image, features=self.projection is not None)
        loss = spec.logits_weight * divergence(
            logits,
            expected,
            voxel_weights(labels, spec.boundary_weight),
            temperature=spec.temperature,
            activation=teacher.activation,
        )
        if self.projection is not None and features is not None:
            own = self.projection(self._features.pop().float())
            inside = in_structures(labels, ignored=self._ignored)
            loss = loss + spec.features_weight * feature_distance(own, features, inside)
        return loss


def looking(
    bundle: Bundle, engine: EngineName, *, device: str, progress: Progress = SILENT
) -> EngineMaker | None:
    """Whoever makes the engines that look at batches for a teacher; None for torch itself.

    Args:
        bundle: The teacher.
        engine: Which runtime; "auto" is the fastest of those that it was exported to, and torch.
        device: Where its student learns. On a GPU it is torch, whatever "auto" might find: batches
            are there already.
        progress: Told which engine it is, and what that means.

    Raises:
        BundleError: If the bundle has no such engine, or one that must not run here.
        MissingDependency: If its runtime is not installed.
    """
    if engine == "torch" or (engine == "auto" and device == "cuda"):
        return None
    maker = choose_engines(bundle, engine=engine, device="cpu", progress=progress)
    if maker.name == "torch":
        return None
    progress.note(f"{maker.name} {maker.precision} looks for the teacher: logits, no features.")
    return maker


def require_one_plan(bundle: Bundle) -> None:
    """Pass if all networks of a bundle see the same patches, and nothing but an image.

    Raises:
        WrongInput: If they do not.
    """
    if len(bundle.stages) == 1:
        return
    configs = ", ".join(stage.plan.config for stage in bundle.stages)
    raise WrongInput(
        "A teacher is one network, or several of one plan.",
        received=f"networks of {len(bundle.stages)} plans: {configs}",
        cure="Train a teacher with one --config, which is not cascade.",
    )


def _fastest(device: torch.device) -> str:
    return "bf16" if torch.cuda.is_bf16_supported() and device.type == "cuda" else "fp16"


def _width(network: Network) -> int:
    """Channels that come to the head."""
    weight = next(iter(network.head.parameters()))
    return int(weight.shape[1])
