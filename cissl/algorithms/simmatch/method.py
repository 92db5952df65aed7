"""SimMatch: similarity matching (Zheng et al., CVPR 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cissl.algorithms.contract import Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.losses import confidence_mask
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.alignment import aligned, normalised
from cissl.algorithms.maths.projection import projection
from cissl.algorithms.maths.row_tables import put_rows
from cissl.algorithms.simmatch.card import Settings
from cissl.algorithms.simmatch.similarity import bank_rows, by_class, instance_loss, instance_targets, similarities
from cissl.errors import UserError

HEAD = "projection"


class SimMatch(FixMatch):
    """A weak view's similarities to all labeled images smooth its pseudo-label. The strong view's similarities follow
    them.

    State:
        bank: M, a vector for each labeled image, (K, proj_size); random until the image is seen.
        bank_classes: their classes, (K,) int64; 0 until the image is seen.
        predictions: mean probabilities of each of the last steps, oldest first, (da_len, C); 0 at first.
    """

    settings: Settings

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """``projection``: an embedding of length 1, (n, width) → (n, proj_size)."""
        return {HEAD: projection(width, self.settings.proj_size, nn.ReLU())}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state; ``bank`` (K, proj_size), ``bank_classes`` (K,) int64 and ``predictions`` (da_len, C).

        Raises:
            UserError: an add-on has no effect with ``variant: authors``.
        """
        self._check()
        return super().state(facts) | {
            "bank": facts.full((facts.labeled, self.settings.proj_size), 0),
            "bank_classes": facts.full((facts.labeled,), 0, torch.int64),
            "predictions": facts.full((self.settings.da_len, facts.classes), 0),
        }

    def outputs(self, step: Step) -> dict[str, Outputs]:
        """Outputs for every view; in the variant authors the averaged network makes the weak ones.

        The labeled embeddings (B, proj_size) go to the bank.
        """
        if self.settings.variant == "usb":
            out = step.forward(*self.views)
            labeled = out["labeled"]
        else:
            out = step.forward("labeled", *self.strong_views)
            images = torch.cat([step.view("labeled"), step.view("weak")])
            both, B = step.teacher(images, batch_statistics=True), len(step.targets)
            labeled, out["weak"] = both.rows(slice(B)), both.rows(slice(B, None))
        step.shared["bank"] = self.remember(step, labeled.head(HEAD).detach())
        step.shared["weak"] = out["weak"].head(HEAD).detach()
        return out

    def remember(self, step: Step, vectors: Tensor) -> Tensor:
        """Write the labeled rows' vectors (B, d) to the bank. Returns the bank before this step, (K, d)."""
        settings, index, bank = self.settings, step.index["labeled"], step.state["bank"]
        if step.number == 0:
            bank = F.normalize(step.random("bank").normal(*bank.shape), dim=1)
        step.next["bank"] = put_rows(bank, index, bank_rows(bank[index], vectors, settings.momentum, settings.norm))
        step.next["bank_classes"] = put_rows(step.state["bank_classes"], index, step.targets)
        return bank

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """Soft pseudo-labels (U, C): the aligned prediction, smoothed by the classes of similar labeled images."""
        settings, classes = self.settings, step.state["bank_classes"]
        probabilities = self.align(step, probabilities)
        if self.started(step):
            similarity = similarities(step.shared["weak"], step.shared["bank"], settings.tt).exp()
            step.shared["instance_targets"] = instance_targets(similarity, probabilities, classes)
            share = settings.c_smooth
            probabilities = share * probabilities + (1 - share) * by_class(similarity, classes, step.facts.classes)
        step.measured["thresholds"] = probabilities.new_full((step.facts.classes,), settings.confidence)
        return PseudoLabels(probabilities.argmax(1), confidence_mask(probabilities, settings.confidence), probabilities)

    def align(self, step: Step, probabilities: Tensor) -> Tensor:
        """The probabilities (U, C), divided by their running mean, which includes this batch."""
        if not self.settings.da_len:
            return probabilities
        rows = torch.cat([step.state["predictions"][1:], probabilities.mean(0, keepdim=True)])
        step.next["predictions"], mean = rows, rows.mean(0)
        if self.settings.variant == "usb":
            return aligned(probabilities, torch.full_like(mean, 1 / len(mean)), mean)
        return normalised(probabilities / mean.clamp_min(torch.finfo(mean.dtype).tiny))

    def started(self, step: Step) -> bool:
        """Whether similarities act. The bank must be filled before."""
        return step.number >= step.facts.steps_of(self.settings.start)

    consistency = FixMatch.soft_consistency

    def further_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``instance``: strong views resemble the same labeled images as their weak views, scalar."""
        if not self.started(step):
            return {"instance": pseudo.probabilities.new_zeros(())}
        vectors = torch.cat([out[name].head(HEAD) for name in self.strong_views])
        strong = similarities(vectors, step.shared["bank"], self.settings.st)
        return {"instance": instance_loss(strong, step.shared["instance_targets"])}

    def weights(self) -> dict[str, float]:
        """FixMatch's weights, and the weight of the instance loss."""
        return super().weights() | {"instance": self.settings.lambda_in}

    def _check(self) -> None:
        """Refuse add-ons that would have no effect."""
        for part in self.add_ons if self.settings.variant == "authors" else ():
            if "labeled" in part.card.fills:
                raise UserError(
                    f"SimMatch and {part.card.title} do not combine with variant: authors, in which the averaged "
                    "network predicts weak views, without gradient; use variant: usb",
                    key="variant",
                )
