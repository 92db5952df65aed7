"""A trial of twenty steps on the digits in which every part of a step acts, for the tests of several modules.

Acting takes more than a low threshold: while a batch is predicted to be of one class, as at first, CAP's and CADR's
weights are all 1 and CAI's threshold is the plain one. Hence the high learning rate, and this seed.
"""

from cissl.algorithms.cards import find
from cissl.config import core_fields

SETTINGS = dict(
    dataset="digits_LT_10.1@40-20",
    seed=2,
    filters=4,
    repeat=1,
    scales=2,
    batch=8,
    uratio=2,
    lr=0.1,
    confidence=0.25,
    cap_ema_momentum=0.9,
    bn_decay=0.9,
    ema_decay=0.9,
    train_kimg=20 * 8 / 1024,
    report_kimg=8 / 1024,
)


def settings(**changes):
    """The trial's settings with some changed; those that the algorithm does not take are left out."""
    values = SETTINGS | changes
    taken = {*core_fields(), *find(values.get("algorithm", "fixmatch")).fields}
    return {key: value for key, value in values.items() if key in taken or key in changes}
