"""CoSSL: co-learning of representation and classifier (Fan et al., CVPR 2022).

Notation: H second head, H' its moving average; B rows of each further stream, U unlabeled rows.
"""

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from cissl.algorithms.contract import AddOn, Facts, Outputs, Stage, Step, Stream, Survey, View
from cissl.algorithms.cossl.card import Settings, second_phase
from cissl.algorithms.cossl.second_head import Head, fresh, initial_weights, logits, stepped, trained
from cissl.algorithms.cossl.tail_features import balanced_set, imprinted, mix_chances, mixed, row_weights
from cissl.errors import UserError

BALANCED, OTHER = "cossl.balanced", "cossl.other"  # names of streams and of their views


class CoSSL(AddOn):
    """In a second phase, a second head H learns from balanced batches of features and makes the pseudo-labels.

    The features come from the averaged network. H' predicts.

    State:
        cossl.weights, cossl.average, cossl.first, cossl.second: H, H' and Adam's averages, (C, D + 1) each.
        cossl.started: whether the second phase has begun, bool scalar.
    """

    settings: Settings
    views = {BALANCED: View(BALANCED, "strong"), OTHER: View(OTHER, "strong")}

    def streams(self, facts: Facts) -> dict[str, Stream]:
        """Two streams of B images for H: labeled images, drawn so that classes are balanced, and all images."""
        weights = functools.partial(row_weights, classes=facts.classes)
        return {BALANCED: Stream("labeled", facts.batch, weights), OTHER: Stream("all", facts.batch)}

    def stages(self, facts: Facts) -> tuple[Stage, ...]:
        """The two phases. The first does not use the views of H.

        Raises:
            UserError: one phase has no step.
        """
        start = second_phase(self.settings, facts.steps)
        if not 0 < start < facts.steps:
            raise UserError(
                f"CoSSL trains in two phases, and with cossl.start: {self.settings.start} one of them has none of the "
                f"{facts.steps} steps; give a number of steps from 1 to {facts.steps - 1}, or a share",
                key="cossl.start",
            )
        return Stage(start / facts.steps, without=(BALANCED, OTHER)), Stage(1 - start / facts.steps)

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``cossl.weights``, ``cossl.average``, ``cossl.first`` and ``cossl.second`` (C, D + 1), and ``cossl.started``,
        a bool scalar.
        """
        nothing = facts.full((facts.classes, facts.width + 1), 0)
        started = facts.full((), False, torch.bool)
        return {**dict.fromkeys(map(_name, Head._fields), nothing), "cossl.started": started}

    def between(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The second head after its first training on a fixed set of features: tensors of shape (C, D + 1)."""
        settings, facts = self.settings, survey.facts
        features, targets = self.enhanced(survey)
        head = trained(
            fresh(initial_weights(facts.classes, facts.width, survey.random("cossl.head"))),
            features,
            targets,
            survey.random("cossl.order"),
            steps=facts.steps_of(settings.warm_tfe),
            batch=facts.batch,
            lr=settings.lr_tfe,
            weight_decay=settings.wd_tfe,
            decay=settings.ema_decay,
        )
        return {**_named(fresh(head.weights, head.average)), "cossl.started": torch.ones_like(state["cossl.started"])}

    def enhanced(self, survey: Survey) -> tuple[Tensor, Tensor]:
        """Features of labeled images and mixed ones of rare classes, (rows, D), with their classes, (rows,) int64."""
        facts = survey.facts
        labeled, weak, strong = (
            survey.outputs(images, augment=augment).features
            for images, augment in (("labeled", "none"), ("unlabeled", "weak"), ("unlabeled", "strong"))
        )
        weights = imprinted(labeled, facts.labeled_targets, facts.classes)
        probabilities = (torch.cat([labeled, weak]) @ weights.T).softmax(1)
        draws = survey.random("cossl.partners"), survey.random("cossl.shares")
        return balanced_set(labeled, facts.labeled_targets, strong, probabilities, *draws)

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """Probabilities (U, C) by H before this step, from the averaged network's features; in the first phase those
        given.
        """
        if step.stage == 0:
            return probabilities
        images = torch.cat([step.view(name) for name in ("weak", BALANCED, OTHER)])
        B = len(step.labels[BALANCED])
        weak, balanced, other = torch.split(step.teacher(images).features, [len(probabilities), B, B])
        self.learn(step, balanced, other)
        return logits(step.state["cossl.weights"], weak).softmax(1)

    def learn(self, step: Step, balanced: Tensor, other: Tensor) -> None:
        """One update of H on balanced features (B, D). Features of rarer classes are mixed more often with others (B,
        D).
        """
        settings, targets = self.settings, step.labels[BALANCED]
        mix = step.random("cossl.mix").bernoulli(mix_chances(step.facts.labeled_counts)[targets])
        shares = settings.max_lam + (1 - settings.max_lam) * step.random("cossl.lambda").uniform(len(targets))
        z = step.shared["cossl.mixed"] = torch.where(mix[:, None], mixed(balanced, other, shares), balanced)
        head, loss = stepped(
            Head(*(step.state[_name(field)] for field in Head._fields)),
            z,
            targets,
            number=step.stage_number,
            lr=settings.lr,
            weight_decay=settings.wd_tfe,
            decay=settings.ema_decay,
        )
        step.next |= _named(head)
        step.measured |= {"cossl.loss": loss, "cossl.mixed": mix.double().mean()}

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """Logits of H', (n, C), in the second phase; in the first the given scores."""
        return torch.where(state["cossl.started"], logits(state["cossl.average"], outputs.features), scores)


def _name(field: str) -> str:
    return f"cossl.{field}"


def _named(head: Head) -> dict[str, Tensor]:
    return {_name(field): value for field, value in zip(Head._fields, head, strict=True)}
