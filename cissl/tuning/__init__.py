"""Sweeps: from a YAML file to trials that Ray Tune runs."""
