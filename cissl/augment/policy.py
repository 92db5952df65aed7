"""The views of a triple, see `triple`, and the probes that CTAugment learns from."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ctaugment, ops, weak
from cissl.augment.autoaugment import AutoAugment
from cissl.augment.ctaugment import CTAugment, ProbePolicy
from cissl.augment.randaugment import Policy, RandAugment, default_cutout
from cissl.augment.row_draws import RowDraws
from cissl.augment.triple import FIXED, parse_triple

PLAIN = ("x", "m", "d")  # letters of views that are at most mirrored and shifted
ADAPTIVE = "adaptive"  # the third letter d
Draws = dict[str, dict[str, np.ndarray]]  # "" or a policy's letter → name → array


class ViewBatch(NamedTuple):
    """A batch of images, and which view of them to make.

    Attributes:
        kind: ``"labeled"``, ``"weak"``, ``"strong"`` or ``"none"``.
        rows: number of this worker's images.
    """

    kind: str
    rows: int


class Probes(NamedTuple):
    """Labeled images on which CTAugment tries its operations.

    Attributes:
        images: this worker's images, (rows, channels, H, W) float in [−1, 1].
        policy: the operations that made each of them.
    """

    images: Tensor
    policy: ProbePolicy


class Augmentation:
    """The views of one trial's triple.

    Images are (N, C, S, S) uint8 in any memory format, and views are (N, C, S, S) float32 in [−1, 1]. All random
    numbers come from `RowDraws`. Each method draws in a fixed order, and a fixed number of values for each row.

    Args:
        triple: see `parse_triple`.
        dataset: name of the data set, for AutoAugment's policy.
        mirror, shift: the data set's default weak augmentation; `shift` in pixels, less than the side.
        side, channels: side of the images, at least 8 pixels, and number of channels, 1 or 3.
        depth, threshold, decay: arguments of `CTAugment`.
        device: device of the images and of CTAugment's rates.

    Raises:
        UserError: the triple is wrong, or AutoAugment has no policy for the data set.
        ValueError: augmentation cannot handle the sizes.
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
    ) -> None:
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

    def view(self, kind: str, images: Tensor, rng: RowDraws) -> Tensor:
        """The ``labeled``, ``weak``, ``strong`` or ``none`` (unchanged) view of images, (N, C, S, S) float32."""
        views = {"": ViewBatch(kind, len(images))}
        return self.views(views, images, self._sent(self.draw(views, {"": rng}.__getitem__)))[0][""]

    def labeled(self, images: Tensor, rng: RowDraws) -> Tensor:
        """The view of labeled images, (N, C, S, S) float32: the first letter."""
        return self.view("labeled", images, rng)

    def weak(self, images: Tensor, rng: RowDraws) -> Tensor:
        """The weak view of unlabeled images, (N, C, S, S) float32: the second letter."""
        return self.view("weak", images, rng)

    def strong(self, images: Tensor, rng: RowDraws) -> Tensor:
        """The strong view of unlabeled images, (N, C, S, S) float32, with its own mirror and shift: third letter."""
        return self.view("strong", images, rng)

    def order(self, views: Mapping[str, ViewBatch]) -> list[str]:
        """Names of the views in the order in which `views` expects their images, one view below the other."""
        return sorted(views, key=lambda name: self._group(views[name]))

    def draw(
        self, views: Mapping[str, ViewBatch], random: Callable[[str], RowDraws], probed: str | None = None
    ) -> Draws:
        """Draw the random numbers of a step's views on the host.

        Args:
            views: name → view.
            random: name of a view, or ``"probe"`` → its random numbers.
            probed: name of the view that CTAugment's probes are made from. None: there are no probes.
        """
        places: dict[str, np.ndarray] = {}
        adaptive: list[RowDraws] = []
        fixed: dict[str, list[dict[str, np.ndarray]]] = {}
        for name, view in views.items():
            rng, letter = random(name), self._letters[view.kind]
            places[name] = self._places(letter, view.rows, rng)
            if letter == ADAPTIVE:
                adaptive.append(rng)
            elif letter in self._policies:
                fixed.setdefault(letter, []).append(self._policies[letter].draw(rng, self.side))
        draws = {"": {"places": np.concatenate([places[name] for name in self.order(views)])}}
        for letter, drawn in fixed.items():
            draws[letter] = {key: np.concatenate([one[key] for one in drawn]) for key in drawn[0]}
        if adaptive:
            draws[ADAPTIVE] = self._ctaugment.draw(adaptive, self.side, random("probe") if probed else None)
        return draws

    def views(
        self,
        views: Mapping[str, ViewBatch],
        images: Tensor,
        draws: Mapping[str, Mapping[str, Tensor]],
        probed: str | None = None,
    ) -> tuple[dict[str, Tensor], Probes | None]:
        """Make all views of a step at once, because a GPU's time depends on the number of calls and not of pixels.

        Args:
            views, probed: as for `draw`.
            images: images of all views, (N, C, S, S) uint8, in `order`.
            draws: the result of `draw`, on the device.

        Returns:
            Name → view, (rows, C, S, S) float32, and the probes if there are any.
        """
        images = weak.crop(images, draws[""]["places"], self.shift)
        order = self.order(views)
        pixels = dict(zip(order, torch.split(images, [views[name].rows for name in order]), strict=True))
        made: dict[str, Tensor] = {}
        probes = None
        for adaptive, letter in sorted({self._group(view) for view in views.values()}):
            names = [name for name in order if self._group(views[name]) == (adaptive, letter)]
            sizes = [views[name].rows for name in names]
            rows, images = images.tensor_split((sum(sizes),))
            if adaptive:
                again = None
                if probed is not None:
                    plain = not self._group(views[probed])[1]
                    again = pixels[probed] if plain else ops.to_uint8(made[probed])
                floats, probes = self._adaptive(rows, draws[letter], again)
            else:
                floats = self._strengthened(letter, rows, draws[letter]) if letter else ops.to_float(rows)
            made |= dict(zip(names, torch.split(floats, sizes), strict=True))
        return made, probes

    @torch.no_grad()
    def update(self, policy: ProbePolicy, proximity: Tensor) -> None:
        """Update the rates from the probes' proximities (N,), row after row of the **global** batch."""
        self._ctaugment.update(policy, proximity)

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of CTAugment's rates, (19, 2, 17) float32. The dict is empty if CTAugment is not used."""
        return {"rates": self._ctaugment.rates.clone()} if self.uses_ctaugment else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the result of `state_dict`: ``rates`` (19, 2, 17) float32, or nothing.

        Raises:
            ValueError: the state belongs to another kind of triple.
        """
        own = self.state_dict()
        given, needed = ({name: tuple(value.shape) for name, value in s.items()} for s in (state, own))
        if given != needed:
            raise ValueError(f"augmentation state is {given}, but this augmentation needs {needed}")
        if self.uses_ctaugment:
            self._ctaugment.rates = state["rates"].to(own["rates"], copy=True)

    def _group(self, view: ViewBatch) -> tuple[bool, str]:
        """Views of one group are made together. Adaptive views come last, because their probes need other views."""
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

    def _places(self, letter: str, rows: int, rng: RowDraws) -> np.ndarray:
        """Places of the default augmentation, or of the part of it that the letter has; see `weak`."""
        if letter == "x":
            return np.full((rows, 2), self.shift)
        if letter == "m":
            return weak.places(rng.uniform() < 0.5, np.full((rows, 2), self.shift), self.shift)
        return weak.draw(rng, flip=self.mirror, shift=self.shift)

    def _strengthened(self, letter: str, images: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        """A policy's views of these images, in [−1, 1]."""
        return self._policies[letter].apply(images, draws)

    def _adaptive(
        self, images: Tensor, draws: Mapping[str, Tensor], probed: Tensor | None
    ) -> tuple[Tensor, Probes | None]:
        """CTAugment's views of these images, and with `probed` its probes of those; of uint8, in [−1, 1]."""
        choice, centres = draws["choice"], draws["centres"]
        number = len(images)
        levels = self._ctaugment.levels(choice[:number], draws["uniform"])
        if probed is not None:
            images, levels = torch.cat((images, probed)), torch.cat((levels, draws["levels"]))
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
