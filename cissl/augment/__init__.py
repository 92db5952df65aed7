"""Data augmentation on batches of uint8 images, on whatever device holds them.

``triple`` reads ``labeled.weak.strong`` and ``policy`` makes views of it; ``ops`` has the image operations,
``weak``, ``ctaugment``, ``randaugment`` and ``autoaugment`` are built from them.
"""
