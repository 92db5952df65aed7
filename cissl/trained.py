"""A trained model: the averaged network of a complete trial, its method's prediction, and its preprocessing.

    model = cissl.load("~/ray_results/digits_lt/cadr-digits_LT_20@21-s1-de2acd8f")
    classes, probabilities = model.predict(["one.png", "two.png"])

Only files of the trial's folder are needed:

- ``config.json``;
- ``weights.pt``: the averaged weights, and the averages of BatchNorm;
- ``prediction.pt``: what else predictions need, see `Trainer.prediction`;
- ``code/``: the user's own method, if the trial has one. This code is executed.

Older trials have no ``prediction.pt``. For these the data set is read too.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from cissl import datasets
from cissl.algorithms.contract import Method, Outputs
from cissl.augment.ops import to_float
from cissl.config import TrialConfig
from cissl.datasets.sources.image_files import Reading, decode_images, in_shape
from cissl.errors import UserError
from cissl.models.layers import Classifier
from cissl.paths import local_folder
from cissl.training import records
from cissl.training.checkpoint import PREDICTION, WEIGHTS, load_tensors
from cissl.training.device import choose_device
from cissl.training.learner import autocast, make_network, memory_format
from cissl.training.trainer import Trainer

BATCH = 500  # images at once
EXPORTED_TOLERANCE = 1e-4  # largest difference of a probability between a network and its ONNX file
ImageInput = Sequence[Any] | npt.NDArray[np.uint8]  # paths, PIL images or arrays, or one array of them all
INSTALL_ONNX = 'pip install -c constraints.txt -e ".[onnx]"'


class TrainedModel(nn.Module):
    """A network in evaluation mode, with what turns its outputs into predictions.

    It maps float images (N, channels, side, side) in [−1, 1] to the method's scores (N, classes). The largest score is
    the prediction. As in the trial's own evaluations, scores may come from a balanced head, or be debiased or adjusted.

    Attributes:
        config: the trial's settings.
        class_names: names of the classes, in the order of the scores.
        side: of the images, in pixels.
        channels: of the images, 1 or 3.
        reading: how image files become arrays; the same as when the trial's data set was made.
        network: the backbone with averaged weights, and with the method's heads.
    """

    def __init__(self, config: TrialConfig, network: Classifier, saved: Mapping[str, Any], device: torch.device):
        super().__init__()
        self.config = config
        self.class_names: list[str] = list(saved["class_names"])
        self.side, self.channels = int(saved["side"]), int(saved["channels"])
        self.reading = Reading(**{"side": self.side, **saved["reading"]})
        self.network = network.to(memory_format=memory_format(config, device))
        self._method = Method(config.recipe, config.method)
        self._state_names = list(saved["state"])  # with dots, which a buffer's name cannot have
        for number, value in enumerate(saved["state"].values()):
            self.register_buffer(f"state_{number}", value)
        self.to(device).eval().requires_grad_(False)

    @property
    def state(self) -> dict[str, Tensor]:
        """By name, what the method's prediction needs beside the network's outputs; shapes are the method's own."""
        return {name: getattr(self, f"state_{number}") for number, name in enumerate(self._state_names)}

    def forward(self, images: Tensor) -> Tensor:
        """Float images (N, channels, side, side) in [−1, 1] → scores (N, classes)."""
        weight = self.network.dense.weight
        with autocast(self.config, weight.device):
            outputs = Outputs(*self.network.outputs(images.to(weight.dtype)))
        return self._method.predict(outputs, self.state)

    def preprocess(self, images: ImageInput) -> Tensor:
        """Turn images into uint8 (N, channels, side, side) on the CPU.

        Args:
            images: paths of image files, PIL images, or uint8 arrays (H, W) or (H, W, channels), of any size; or one
                uint8 array (N, H, W, channels). They are turned upright, put on a background and brought to the
                network's size in the same way as when the data set was made.

        Raises:
            UserError: images cannot be read; all of them are named.
        """
        if not len(images):
            return torch.zeros((0, self.channels, self.side, self.side), dtype=torch.uint8)
        if isinstance(images[0], str | Path):
            arrays = decode_images([Path(path) for path in images], self.side, self.channels, self.reading)
        else:
            arrays = [self._fitted(image) for image in images]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    def _fitted(self, image: Any) -> npt.NDArray[np.uint8]:
        """One image as (side, side, channels)."""
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim not in (2, 3):
                raise UserError(f"an image is a uint8 array (H, W) or (H, W, channels), not {image.dtype}{image.shape}")
            image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
        return in_shape(image, self.side, self.channels, self.reading)

    @torch.inference_mode()
    def probabilities(self, images: ImageInput | Tensor) -> Tensor:
        """The softmax of the scores, (N, classes) float32 on the CPU.

        Probabilities are not calibrated. If a method's scores are not logits, only the order of the classes means
        something.

        Args:
            images: as for `preprocess`, or its result, uint8 (N, channels, side, side).

        Raises:
            UserError: images cannot be read, or a tensor has another shape or dtype.
        """
        pixels = images if isinstance(images, Tensor) else self.preprocess(images)
        if pixels.dtype != torch.uint8 or pixels.shape[1:] != (self.channels, self.side, self.side):
            raise UserError(
                f"images must be uint8 of shape (N, {self.channels}, {self.side}, {self.side}), not {pixels.dtype} of "
                f"{tuple(pixels.shape)}"
            )
        device = self.network.dense.weight.device
        parts = [self(to_float(part.to(device))).float().softmax(1).cpu() for part in torch.split(pixels, BATCH)]
        return torch.cat(parts) if parts else torch.zeros((0, len(self.class_names)))

    def predict(self, images: ImageInput | Tensor) -> tuple[list[str], Tensor]:
        """Class name and probability of each image: N names, and (N,) float32.

        Args:
            images: as for `probabilities`.

        Raises:
            UserError: see `probabilities`.
        """
        values, classes = self.probabilities(images).max(dim=1)
        return [self.class_names[number] for number in classes.tolist()], values

    def export_onnx(self, path: Path | str) -> float:
        """Write the model as an ONNX file, and compare it with the network on some images.

        Its input ``images`` is uint8 (N, channels, side, side). Its output ``probabilities`` is float32 (N, classes). N
        is free. Its metadata hold the class names as JSON. It computes in float32, whatever the trial's precision.

        Args:
            path: of the file.

        Returns:
            The largest difference of a probability.

        Raises:
            UserError: a library is missing, or the file's probabilities differ; then no file remains.
        """
        onnx, onnxruntime = _onnx()
        path, device = Path(path), self.network.dense.weight.device
        model = _Exported(self.to("cpu")).eval()
        try:
            images = torch.randint(256, (3, self.channels, self.side, self.side), dtype=torch.uint8)
            _export(model, images, path)
            described = onnx.load(path)
            onnx.helper.set_model_props(described, {"class_names": json.dumps(self.class_names)})
            onnx.save(described, path)
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            with torch.no_grad():
                differences = [
                    np.abs(session.run(None, {"images": some.numpy()})[0] - model(some).numpy()).max()
                    for some in (images, images[:1])
                ]
        finally:
            self.to(device)
        if not max(differences) <= EXPORTED_TOLERANCE:
            path.unlink()
            raise UserError(
                f"{path}: not written, since its probabilities differ from the network's by {max(differences):.2g}"
            )
        return float(max(differences))


class _Exported(nn.Module):
    """A model whose input is uint8 pixels and whose output is float32 probabilities."""

    def __init__(self, model: TrainedModel):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        model = self.model
        outputs = Outputs(*model.network.outputs(to_float(images)))
        return model._method.predict(outputs, model.state).float().softmax(1)


def _export(model: nn.Module, images: Tensor, path: Path) -> None:
    chatty = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in chatty]
    try:
        for logger in chatty:
            logger.setLevel(logging.ERROR)
        torch.onnx.export(
            model,
            (images,),
            path,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("N", min=1)}},
            external_data=False,
            verbose=False,
        )
    finally:
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)


def _onnx() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise UserError(f"ONNX files need {error.name}, which is not installed: {INSTALL_ONNX}") from None
    return onnx, onnxruntime


def load(trial: str | Path, device: str | None = None) -> TrainedModel:
    """Load the averaged network of a complete trial, in evaluation mode.

    Args:
        trial: the trial's folder.
        device: ``"cpu"``, ``"cuda"``, …; by default a GPU where there is one.

    Raises:
        UserError: the trial is not complete, or its files are damaged.
    """
    folder = local_folder("TRIAL", str(trial))
    config = records.read_config(folder)
    if not (folder / WEIGHTS).is_file():
        status = records.read_status(folder)
        state, step = (status["state"], status.get("step", 0)) if status else ("no status", 0)
        raise UserError(
            f"{folder} is not complete ({state}, step {step} of {config.steps}), so it has no {WEIGHTS} yet; the "
            "command that began the trial continues it"
        )
    chosen = choose_device(device)
    saved = load_tensors(folder / PREDICTION) if (folder / PREDICTION).exists() else _without_file(config, folder)
    network = make_network(
        config, classes=len(saved["class_names"]), side=saved["side"], channels=saved["channels"], pretrained=False
    )
    network.add_heads(_heads(config, network))
    try:
        network.load_state_dict(load_tensors(folder / WEIGHTS))
    except RuntimeError as error:
        raise UserError(
            f"{folder / WEIGHTS} does not fit the trial's network: {' '.join(str(error).split())}"
        ) from None
    return TrainedModel(config, network, saved, chosen)


def _heads(config: TrialConfig, network: Classifier) -> dict[str, nn.Module]:
    """The method's heads, before their weights are loaded."""
    weight = network.dense.weight
    with torch.random.fork_rng(devices=[]):
        heads = Method(config.recipe, config.method).heads(weight.shape[1], weight.shape[0])
    return {name: head.to(weight.dtype) for name, head in heads.items()}


def _without_file(config: TrialConfig, folder: Path) -> dict[str, Any]:
    """What `prediction.pt` would hold, for a trial that was completed by a version that did not write it.

    Raises:
        UserError: the data set has changed, or predictions need what only the training knew.
    """
    dataset = datasets.load(config.dataset)
    records.require_same_data(folder, config.dataset, records.recorded_data(folder), records.data_hashes(dataset))
    trainer = Trainer(config, dataset, torch.device("cpu"))
    trainer.learner.ema_model.load_state_dict(load_tensors(folder / WEIGHTS))
    saved = trainer.prediction()
    if lost := saved["state"].keys() & trainer.learner.state.keys():
        raise UserError(
            f"{folder} has no {PREDICTION}, and predictions of {config.algorithm} need {', '.join(sorted(lost))} from "
            "its training: it was completed by an older version; move the folder away to train the trial again"
        )
    return saved
