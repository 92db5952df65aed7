"""Compares methods with numbers of their authors' programs: ``python -m tests.algorithms.vectors FOLDER``."""
