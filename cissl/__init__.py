"""cissl: sweeps of class-imbalanced semi-supervised learning on Ray Tune and PyTorch."""

__version__ = "0.1.0"
