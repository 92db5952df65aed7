"""The views that a triple stands for, see `triple`, and the probes that CTAugment learns from."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ctaugment, ops, weak
from cissl.augment.autoaugment import AutoAugment
from cissl.augment.ctaugment import CTAugment, ProbePolicy
from cissl.augment.randaugment import Policy, RandAugment, default_cutout
from cissl.augment.triple import FIXED, parse_triple

PLAIN = ("x", "m", "d")  # letters of views that are moved at most
ADAPTIVE = "adaptive"  # the third letter d
Draws = dict[str, dict[str, np.ndarray]]  # "" or a policy's letter → name → array


class ViewBatch(NamedTuple):
    """A batch of images, and the view of them that is wanted.

    Attributes:
        kind: ``"labeled"``, ``"weak"``, ``"strong"`` or ``"none"``.
        rows: how many images, of this worker.
    """

    kind: str
    rows: int


class Probes(NamedTuple):
    """Labeled images on which CTAugment's operations are tried.

    Attributes:
        images: this worker's, (rows, channels, H, W) float in [−1, 1].
        policy: which operations made each of them.
    """

    images: Tensor
    policy: ProbePolicy


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
        strong = ADAPTIVE if self.uses_ctaugment else letters[2]
        self._letters = dict(zip(("labeled", "weak", "strong"), (*letters[:2], strong), strict=True)) | {"none": "x"}
        self._policies = {
            letter: self._policy(letter)
            for letter in self._letters.values()
            if letter not in PLAIN and letter != ADAPTIVE
        }

    def view(self, kind: str, images: Tensor, rng) -> Tensor:
        """The images' ``labeled``, ``weak`` or ``strong`` view; ``none``: the images themselves, as floats."""
        views = {"": ViewBatch(kind, len(images))}
        return self.views(views, images, self._sent(self.draw(views, {"": rng}.get)))[0][""]

    def labeled(self, images: Tensor, rng) -> Tensor:
        """The labeled images' view (first letter)."""
        return self.view("labeled", images, rng)

    def weak(self, images: Tensor, rng) -> Tensor:
        """The unlabeled images' weak view (second letter)."""
        return self.view("weak", images, rng)

    def strong(self, images: Tensor, rng) -> Tensor:
        """The unlabeled images' strong view (third letter), with a mirror and shift of its own."""
        return self.view("strong", images, rng)

    def order(self, views: Mapping[str, ViewBatch]) -> list[str]:
        """The views' names in the order in which `views` wants their images, one below the other."""
        return sorted(views, key=lambda name: self._group(views[name]))

    def draw(self, views: Mapping[str, ViewBatch], random: Callable[[str], Any], probed: str | None = None) -> Draws:
        """What chance gives to a step's views, drawn on the host.

        Args:
            views: by name.
            random: name of a view, or ``"probe"``, → its `rng`.
            probed: name of the view that CTAugment's probes are made of, where a strong view uses it.
        """
        places, policies = {}, {}
        for name, view in views.items():
            rng, letter = random(name), self._letters[view.kind]
            places[name] = self._places(letter, view.rows, rng)
            if letter == ADAPTIVE:
                policies.setdefault(letter, []).append(rng)
            elif letter in self._policies:
                policies.setdefault(letter, []).append(self._policies[letter].draw(rng, self.side))
        draws = {"": {"places": np.concatenate([places[name] for name in self.order(views)])}}
        for letter, drawn in policies.items():
            if letter == ADAPTIVE:
                draws[letter] = self._ctaugment.draw(drawn, self.side, random("probe") if probed else None)
            else:
                draws[letter] = {key: np.concatenate([one[key] for one in drawn]) for key in drawn[0]}
        return draws

    def views(
        self,
        views: Mapping[str, ViewBatch],
        images: Tensor,
        draws: Mapping[str, Mapping[str, Tensor]],
        probed: str | None = None,
    ) -> tuple[dict[str, Tensor], Probes | None]:
        """A step's views, all at once: what costs a GPU is the number of calls, and not that of pixels.

        Args:
            views, probed: as for `draw`.
            images: of all views, in `order`.
            draws: what `draw` gave, on the device.

        Returns: each view by name, and the probes that CTAugment learns from, where a strong view uses it.
        """
        images = weak.crop(images, draws[""]["places"], self.shift)
        made: dict[str, Tensor] = {}
        probes = None
        order = self.order(views)
        for _, letter in sorted({self._group(view) for view in views.values()}):
            names = [name for name in order if self._group(views[name])[1] == letter]
            sizes = [views[name].rows for name in names]
            rows, images = images.tensor_split((sum(sizes),))
            if not letter:
                floats = ops.to_float(rows)
            else:
                floats, found = self._strengthened(
                    letter, rows, draws[letter], None if probed is None else made[probed]
                )
                probes = probes or found
            made |= dict(zip(names, floats.split(sizes), strict=True))
        return made, probes

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

    def _group(self, view: ViewBatch) -> tuple[bool, str]:
        """What views have in common that are made together; the adaptive ones, which may need others, come last."""
        letter = self._letters[view.kind]
        return letter == ADAPTIVE, "" if letter in PLAIN else letter

    def _policy(self, letter: str) -> Policy:
        cutout = default_cutout(self.side) if letter.endswith("c") else 0
        if letter in ("aa", "aac"):
            return AutoAugment(dataset=self.dataset, cutout=cutout)
        fixed = FIXED.fullmatch(letter)
        if not fixed:
            return RandAugment(cutout=cutout)
        count, magnitude, percent = map(int, fixed.groups())
        return RandAugment(count=count, magnitude=magnitude, probability=1.0, cutout=int(0.01 * percent * self.side))

    def _places(self, letter: str, rows: int, rng) -> np.ndarray:
        """Places of the default augmentation, or of as much of it as the letter wants; see `weak`."""
        if letter == "x":
            return np.full((rows, 2), self.shift)
        if letter == "m":
            return weak.places(rng.uniform() < 0.5, np.full((rows, 2), self.shift), self.shift)
        return weak.draw(rng, flip=self.mirror, shift=self.shift)

    def _strengthened(
        self, letter: str, images: Tensor, draws: Mapping[str, Tensor], probed: Tensor | None
    ) -> tuple[Tensor, Probes | None]:
        """A policy's views of these images, uint8; CTAugment also gives probes of the views `probed`, floats."""
        if letter != ADAPTIVE:
            return self._policies[letter].apply(images, draws), None
        choice, centres = draws["choice"], draws["centres"]
        number = len(images)
        levels = self._ctaugment.levels(choice[:number], draws["uniform"])
        if probed is not None:
            images, levels = torch.cat((images, ops.to_uint8(probed))), torch.cat((levels, draws["levels"]))
        changed = ctaugment.apply(images, choice, levels, centres[:, :-1])
        ctaugment.final_cutout_(changed[:number], centres[:number, -1])
        strong, probes = ops.to_float(changed).tensor_split((number,))
        if probed is None:
            return strong, None
        return strong, Probes(probes, ProbePolicy(choice[number:], draws["levels"]))

    def _sent(self, draws: Draws) -> dict[str, dict[str, Tensor]]:
        device = self._ctaugment.rates.device
        return {
            letter: {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}
            for letter, arrays in draws.items()
        }
