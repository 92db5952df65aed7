"""For authors of methods: the conformance suite, and a step without a network.

`check_method("ours.py:Ours")`, or ``python -m cissl.testing ours.py:Ours``, trains a method for a dozen steps in many
ways and tells which checks it fails. `CannedStep` runs a method on given outputs, for tests of its numbers.
"""

from cissl.testing.canned import CannedDraws, CannedStep, make_facts, make_method
from cissl.testing.conformance import Finding, check_method

__all__ = ["CannedDraws", "CannedStep", "Finding", "check_method", "make_facts", "make_method"]
