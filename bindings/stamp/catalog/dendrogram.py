"""How groups of products were joined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dendrogram:
    """How the large groups were joined.

    Attributes
    ----------
    linkage : float64 array [n-1,4]
        As scipy.cluster.hierarchy has it; heights are distances in single precision.
    names : list of str
        The groups that are its leaves, attribute values between " / "; a product without attribute by its id.
    labels : int32 array [n]
        The cluster of each leaf.
    pairs, counts : int32 array [p,2], int64 array [p]
        What leaves exchange: recommendations both ways, of every pair i < j that has any.
    """

    linkage: np.ndarray
    names: list[str]
    labels: np.ndarray
    pairs: np.ndarray
    counts: np.ndarray
