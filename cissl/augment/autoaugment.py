"""AutoAugment (Cubuk et al., CVPR 2019, arXiv 1805.09501): policies found by search.

They use RandAugment's operations. A policy is a list of sub-policies; each image draws one, and applies its
two operations with their probabilities.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cissl.augment import randaugment
from cissl.augment.autoaugment_policies import policy_of
from cissl.augment.row_draws import RowDraws


@lru_cache
def sub_policies(dataset: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operations as places in `randaugment.NAMES`, probabilities and magnitudes, each (sub-policies, 2).

    Raises:
        UserError: no policy is known for this data set.
    """
    cells = np.array(policy_of(dataset).split()).reshape(-1, 2, 3)
    operations = np.vectorize(randaugment.NAMES.index)(cells[..., 0])
    return operations, cells[..., 1].astype(np.int64) / 10, cells[..., 2].astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class AutoAugment(randaugment.Policy):
    """One sub-policy for each image, then a cutout.

    Attributes:
        dataset: name of the data set whose policy is used.

    Raises:
        UserError: no policy is known for this data set.
    """

    dataset: str

    def __post_init__(self) -> None:
        sub_policies(self.dataset)

    def draw(self, rng: RowDraws, side: int) -> dict[str, np.ndarray]:
        """Draw a sub-policy for each image: operations and parameters, (N, 2), and centres of cutouts, (N, 2)."""
        operations, probabilities, magnitudes = sub_policies(self.dataset)
        drawn = rng.integers(len(operations))
        uniform = rng.uniform(2, 2)
        centres = rng.integers(side, 2)
        applied = uniform[..., 0] < probabilities[drawn]
        choice = np.where(applied, operations[drawn], randaugment.NAMES.index("Identity"))
        parameter = randaugment.parameters(choice, magnitudes[drawn], uniform[..., 1] > 0.5)
        return {"choice": choice, "parameter": parameter, "centres": centres}
