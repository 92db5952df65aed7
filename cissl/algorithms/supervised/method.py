"""Cross-entropy on the labeled images alone."""

from cissl.algorithms.contract import LABELED, Base, Losses, Step


class Supervised(Base):
    """Training on the labeled images alone. Every semi-supervised method should be better."""

    views = {"labeled": LABELED}

    def losses(self, step: Step) -> Losses:
        """Cross-entropy of the labeled images, scalar, with the terms of the add-ons."""
        out = step.forward("labeled")
        labeled = {"labeled": self.supervised(step, out)}
        return Losses(labeled=labeled | step.labeled_terms(out))
