"""Data sets: names of splits, prepared images, and which of them are labeled, unlabeled and validation."""

from cissl.datasets.dataset import Dataset, load
from cissl.datasets.spec import DatasetSpec, parse_spec

__all__ = ["Dataset", "DatasetSpec", "load", "parse_spec"]
