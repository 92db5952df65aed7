"""Mean Teacher (Tarvainen & Valpola, 2017), as in the program of FixMatch's authors."""

from torch import Tensor

from cissl.algorithms.contract import Step
from cissl.algorithms.pi_model.method import PiModel


class MeanTeacher(PiModel):
    """The Π-Model with the averaged weights on the fixed side, by the statistics of their own batch."""

    def target(self, step: Step) -> Tensor:
        """Probabilities of the averaged network, by the batch's own statistics, (U, C)."""
        return step.teacher(step.view("weak"), batch_statistics=True).probabilities
