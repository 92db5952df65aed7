"""A trial of twenty steps on the digits that uses every part of a step, for the tests of several modules."""

SETTINGS = dict(
    dataset="digits_LT_10.1@10-20",
    filters=4,
    repeat=1,
    scales=2,
    batch=8,
    uratio=2,
    lr=0.01,
    confidence=0.3,
    bn_decay=0.9,
    ema_decay=0.9,
    train_kimg=20 * 8 / 1024,
    report_kimg=8 / 1024,
)
