"""The views that a triple stands for, see `triple`, and the probes that CTAugment learns from."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ctaugment, ops, weak
from cissl.augment.autoaugment import AutoAugment
from cissl.augment.ctaugment import CTAugment, ProbePolicy
from cissl.augment.randaugment import RandAugment, default_cutout
from cissl.augment.triple import FIXED, parse_triple


class Augmentation:
    """The views of one trial's triple.

    Images are (N, C, S, S) uint8 in any memory format, views (N, C, S, S) float32 in [-1, 1]. All randomness
    comes from `rng`, which has ``uniform(*shape)`` and ``integers(high, *shape)`` returning one numpy row an
    image; each method draws in a fixed order, a fixed number of values a row.

    Args:
        triple: see `parse_triple`.
        dataset: its name, for AutoAugment's policy.
        mirror, shift: the dataset's default weak augmentation; `shift` in pixels, less than the side.
        side, channels: of the images; at least 8 pixels, 1 or 3 channels.
        depth, threshold, decay: CTAugment's.
        device: where the images will be and CTAugment's rates are kept.

    Raises:
        UserError: a bad triple, or AutoAugment asked for a dataset without a policy.
        ValueError: sizes that augmentation cannot handle.
    """

    def __init__(
        self,
        triple: str,
        *,
        dataset: str,
        mirror: bool,
        shift: int,
        side: int,
        channels: int,
        depth: int = 2,
        threshold: float = 0.80,
        decay: float = 0.99,
        device: torch.device | str = "cpu",
    ):
        if side < 8 or channels not in (1, 3) or not 0 <= shift < side:
            raise ValueError(f"cannot augment {channels} x {side} x {side} images shifted by {shift}")
        letters = parse_triple(triple, dataset)
        self.dataset, self.mirror, self.shift = dataset, mirror, shift
        self.side, self.channels = side, channels
        self.uses_ctaugment = letters[2] == "d"
        self._ctaugment = CTAugment(depth=depth, threshold=threshold, decay=decay, device=device)
        self._labeled, self._weak, self._strong = map(self._view, letters)
        if self.uses_ctaugment:
            self._strong = self._adaptive

    def view(self, kind: str, images: Tensor, rng) -> Tensor:
        """The images' ``labeled``, ``weak`` or ``strong`` view; ``none``: the images themselves, as floats."""
        makers = {"labeled": self.labeled, "weak": self.weak, "strong": self.strong}
        return ops.to_float(images) if kind == "none" else makers[kind](images, rng)

    def labeled(self, images: Tensor, rng) -> Tensor:
        """The labeled images' view (first letter)."""
        return self._labeled(images, rng)

    def weak(self, images: Tensor, rng) -> Tensor:
        """The unlabeled images' weak view (second letter)."""
        return self._weak(images, rng)

    def strong(self, images: Tensor, rng) -> Tensor:
        """The unlabeled images' strong view (third letter), with a mirror and shift of its own."""
        return self._strong(images, rng)

    def strong_and_probes(self, images: Tensor, rng, views: Tensor, probe_rng) -> tuple[Tensor, Tensor, ProbePolicy]:
        """CTAugment's `strong`, and its probes: a random policy with uniform levels on weakly augmented labeled images.

        Both at once, since an operation costs a GPU a call rather than its pixels.

        Args:
            images, rng: as for `strong`.
            views: the labeled images' views, (N, C, S, S) float32 in [-1, 1].
            probe_rng: randomness of the probes.

        Returns: the strong views, the probes, like `views`, and the probes' policies for `update`.
        """
        images, choice, levels, centres = self._draw(images, rng)
        probe_choice, policy = self._ctaugment.draw_probe(probe_rng)
        probe_centres = probe_rng.integers(self.side, probe_choice.shape[1], 2)
        both = ctaugment.apply(
            torch.cat((images, ops.to_uint8(views))),
            np.concatenate((choice, probe_choice)),
            torch.cat((levels, policy.levels)),
            np.concatenate((centres[:, :-1], probe_centres)),
        )
        strong, probes = both.split((len(images), len(views)))
        return self._cut(strong, centres), ops.to_float(probes), policy

    @torch.no_grad()
    def update(self, policy: ProbePolicy, proximity: Tensor) -> None:
        """Update the rates from the probes' proximities (N,), row after row of the **global** batch."""
        self._ctaugment.update(policy, proximity)

    def state_dict(self) -> dict[str, Tensor]:
        """CTAugment's rates (19, 2, 17) float32, copied; empty where it is not used."""
        return {"rates": self._ctaugment.rates.clone()} if self.uses_ctaugment else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: the state is not one of a triple like this one's.
        """
        own = self.state_dict()
        given, needed = ({name: tuple(value.shape) for name, value in s.items()} for s in (state, own))
        if given != needed:
            raise ValueError(f"augmentation state is {given}, but this augmentation needs {needed}")
        if self.uses_ctaugment:
            self._ctaugment.rates = state["rates"].to(own["rates"], copy=True)

    def _view(self, letter: str) -> Callable[[Tensor, object], Tensor]:
        if letter == "x":
            return lambda images, rng: ops.to_float(images)
        if letter == "m":
            return lambda images, rng: ops.to_float(weak.mirror(images, rng.uniform() < 0.5))
        if letter == "d":
            return lambda images, rng: ops.to_float(self._default(images, rng))
        policy = self._policy(letter)
        return lambda images, rng: policy(self._default(images, rng), rng)

    def _policy(self, letter: str) -> RandAugment | AutoAugment:
        cutout = default_cutout(self.side) if letter.endswith("c") else 0
        if letter in ("aa", "aac"):
            return AutoAugment(dataset=self.dataset, cutout=cutout)
        fixed = FIXED.fullmatch(letter)
        if not fixed:
            return RandAugment(cutout=cutout)
        count, magnitude, percent = map(int, fixed.groups())
        return RandAugment(count=count, magnitude=magnitude, probability=1.0, cutout=int(0.01 * percent * self.side))

    def _default(self, images: Tensor, rng) -> Tensor:
        return weak.augment(images, rng, flip=self.mirror, shift=self.shift)

    def _adaptive(self, images: Tensor, rng) -> Tensor:
        images, choice, levels, centres = self._draw(images, rng)
        return self._cut(ctaugment.apply(images, choice, levels, centres[:, :-1].copy()), centres)

    def _draw(self, images: Tensor, rng) -> tuple[Tensor, np.ndarray, Tensor, np.ndarray]:
        """Weakly augmented images, CTAugment's operations and levels for them, and centres of cutouts (N, D + 1, 2)."""
        images = self._default(images, rng)
        choice, levels = self._ctaugment.draw(rng)
        return images, choice, levels, rng.integers(self.side, choice.shape[1] + 1, 2)

    def _cut(self, images: Tensor, centres: np.ndarray) -> Tensor:
        return ops.to_float(ctaugment.final_cutout(images, centres[:, -1].copy()))
