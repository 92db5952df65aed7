"""Data augmentation on batches of uint8 images, on the device of the images.

``triple`` reads ``labeled.weak.strong``, and ``policy`` makes the views. ``ops`` has the image operations, and
``families`` applies them. ``weak``, ``ctaugment``, ``randaugment`` and ``autoaugment`` use them.
"""
