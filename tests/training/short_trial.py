"""A trial of twenty steps on the digits in which every part of a step acts, for the tests of several modules.

Acting takes more than a low threshold: while a batch is predicted to be of one class, as at first, CAP's and CADR's
weights are all 1 and CAI's threshold is the plain one. Hence the high learning rate, and this seed.
"""

from cissl.algorithms.cards import find
from cissl.config import core_fields
from cissl.testing.conformance import SHORT

SETTINGS = SHORT | {"train_kimg": 20 * SHORT["batch"] / 1024}


def settings(**changes):
    """The trial's settings with some changed; those that the algorithm does not take are left out."""
    values = SETTINGS | changes
    taken = {*core_fields(), *find(values.get("algorithm", "fixmatch")).fields}
    return {key: value for key, value in values.items() if key in taken or key in changes}
