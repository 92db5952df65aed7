"""Data augmentation on batches of uint8 images, on whatever device holds them.

``policy`` turns the triple ``labeled.weak.strong`` into views; ``ops`` has the image operations,
``weak``, ``ctaugment``, ``randaugment`` and ``autoaugment`` are built from them.
"""

from cissl.augment.policy import Augmentation, ProbePolicy, parse_triple

__all__ = ["Augmentation", "ProbePolicy", "parse_triple"]
