"""CoMatch: contrastive graph regularization (Li et al., ICCV 2021)."""

import torch
from torch import Tensor, nn

from cissl.algorithms.comatch.card import Settings
from cissl.algorithms.comatch.graph import contrast_loss, links, remembered
from cissl.algorithms.contract import STRONG, Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.losses import confidence_mask
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.alignment import normalised
from cissl.algorithms.maths.projection import projection

HEAD = "projection"


class CoMatch(FixMatch):
    """A memory of embeddings smooths pseudo-labels, and images with similar pseudo-labels get similar embeddings.

    State:
        memory: F, embeddings of the last steps, the weak rows and then the labeled rows of each step, (K, low_dim); 0
            at first.
        memory_classes: Y, their class probabilities, aligned and not smoothed, (K, C); 0 at first.
        predictions: mean probabilities of each of the last steps, oldest first, (da_len, C); 0 at first.
    """

    settings: Settings
    views = {**FixMatch.views, "strong2": STRONG}

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """``projection``: an embedding of length 1, (n, width) → (n, low_dim)."""
        return {HEAD: projection(width, self.settings.low_dim, nn.LeakyReLU(0.1))}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state; ``memory`` (K, low_dim), ``memory_classes`` (K, C) and ``predictions`` (da_len, C)."""
        settings, C = self.settings, facts.classes
        K = settings.queue_batch * facts.batch * (1 + self.uratio())
        return super().state(facts) | {
            "memory": facts.full((K, settings.low_dim), 0),
            "memory_classes": facts.full((K, C), 0),
            "predictions": facts.full((settings.da_len, C), 0),
        }

    def outputs(self, step: Step) -> dict[str, Outputs]:
        """FixMatch's outputs. The embeddings of weak and labeled views, (U, low_dim) and (B, low_dim), go to the
        memory.
        """
        out = super().outputs(step)
        step.shared["vectors"] = {view: out[view].head(HEAD).detach() for view in ("weak", "labeled")}
        return out

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """Soft pseudo-labels (U, C): the aligned prediction, smoothed by the classes of similar rows of the memory."""
        settings, weak = self.settings, step.shared["vectors"]["weak"]
        probabilities = aligned = self.align(step, probabilities)
        if step.number > settings.queue_batch:
            memory, classes = step.state["memory"], step.state["memory_classes"]
            similar = remembered(weak, memory, classes, settings.temperature)
            probabilities = settings.alpha * aligned + (1 - settings.alpha) * similar
        self.remember(step, aligned)
        step.measured["thresholds"] = aligned.new_full((step.facts.classes,), settings.confidence)
        return PseudoLabels(probabilities.argmax(1), confidence_mask(probabilities, settings.confidence), probabilities)

    def align(self, step: Step, probabilities: Tensor) -> Tensor:
        """The probabilities (U, C), divided by their running mean, which includes this batch."""
        rows = torch.cat([step.state["predictions"][1:], probabilities.mean(0, keepdim=True)])
        step.next["predictions"] = rows
        total = rows.sum(0)  # a multiple of the mean; the factor cancels when rows are normalised
        return normalised(probabilities / total.clamp_min(torch.finfo(total.dtype).tiny))

    def remember(self, step: Step, aligned: Tensor) -> None:
        """Replace the oldest rows of the memory by this step's rows, whose aligned probabilities are (U, C)."""
        one_hot = torch.eye(step.facts.classes, dtype=aligned.dtype, device=aligned.device)[step.targets]
        vectors = step.shared["vectors"]
        news = {
            "memory": torch.cat([vectors["weak"], vectors["labeled"]]),
            "memory_classes": torch.cat([aligned, one_hot]),
        }
        for name, rows in news.items():
            start = step.number * len(rows) % len(step.state[name])
            before, after = step.state[name][:start], step.state[name][start + len(rows) :]
            step.next[name] = torch.cat([before, rows, after])

    consistency = FixMatch.soft_consistency

    def further_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``contrast``: the embeddings of two strong views follow the graph of pseudo-labels, scalar."""
        settings = self.settings
        graph = links(pseudo.probabilities, settings.contrast_th)
        step.measured["edges"] = (graph > 0).sum(1).double().mean()
        first, second = (out[view].head(HEAD) for view in ("strong", "strong2"))
        return {"contrast": contrast_loss(first, second, graph, settings.temperature)}

    def weights(self) -> dict[str, float]:
        """FixMatch's weights, and the weight of the contrastive loss."""
        return super().weights() | {"contrast": self.settings.lam_c}
