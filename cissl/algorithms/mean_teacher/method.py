"""Mean Teacher (Tarvainen & Valpola, 2017), as in the program of FixMatch's authors."""

from torch import Tensor

from cissl.algorithms.contract import Step
from cissl.algorithms.pi_model.method import PiModel


class MeanTeacher(PiModel):
    """The Π-Model with targets from the averaged weights, which use the BatchNorm statistics of their own batch."""

    def target(self, step: Step) -> Tensor:
        """Probabilities of the averaged network with the batch's own statistics, (B, C)."""
        return step.teacher(step.view("weak"), batch_statistics=True).probabilities
