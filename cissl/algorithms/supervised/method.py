"""Cross-entropy on the labeled images, and nothing else."""

from cissl.algorithms.contract import LABELED, Base, Losses, Step


class Supervised(Base):
    """The lower bound that every semi-supervised method is compared with."""

    views = {"labeled": LABELED}

    def losses(self, step: Step) -> Losses:
        """Cross-entropy of the labeled images, scalar, with the add-ons' terms."""
        out = step.forward("labeled")
        labeled = {"labeled": self.supervised(step, out)}
        return Losses(labeled=labeled | step.labeled_terms(out))
