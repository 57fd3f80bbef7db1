"""Whoever knows more of a batch than its labels say: a teacher whom a network learns from."""

from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn

from medseg.bundle import Provenance
from medseg.dataset.plan import Plan
from medseg.networks.network import Network
from medseg.tensors import Image, Labels, Logits

LESSON = "lesson"
"""The name under which a lesson lies in a network while it learns."""


class Lesson(nn.Module):
    """What is added to the loss of a batch. Its weights, if it has any, learn with the network.

    A lesson of another kind replaces `forward`; this one adds nothing.
    """

    def forward(self, image: Image, logits: Logits, labels: Labels) -> Float[Tensor, ""]:
        """Something to make small besides the loss.

        Args:
            image: What the network has just seen, as it was augmented.
            logits: Its finest logits.
            labels: Class indices.
        """
        del image, labels
        return logits.new_zeros(())


class Guide(Protocol):
    """Gives lessons.

    Attributes:
        identity: For the record: name and the first digits of a hash.
        origin: What it learned from itself, so that nobody is judged on cases that it has seen.
    """

    identity: str
    origin: Provenance

    def lesson(self, network: Network, plan: Plan) -> Lesson:
        """The lesson of one network, which may look at what passes through it.

        Raises:
            BundleError: If it cannot teach networks of this plan.
        """
        ...


def without_lesson(name: str) -> bool:
    """Whether a weight belongs to the network itself and not to its lesson."""
    return not name.startswith(f"{LESSON}.")
