"""AdaMatch's weight of the unlabeled loss (Berthelot et al., 2022, section 3.4)."""

import math


def unlabeled_weight(progress: float, last: float) -> float:
    """A raised cosine from 0 to 1 over the first half of the training, and one from 1 to `last` over the second half.

    After the end of the training the weight is 0.

    Args:
        progress: share of the training that is over.
        last: weight at the end of the training, wu.
    """
    if progress > 1:
        return 0.0
    rise = 0.5 - 0.5 * math.cos(2 * math.pi * progress)
    return rise if progress <= 0.5 else 1 + (last - 1) * (1 - rise)
