"""Reading what any recommender saved."""

from __future__ import annotations

import os

from .. import _stamp
from .baselines import BaselineRecommender, opened
from .hardware import open_device
from .stamp_recommender import StampRecommender, model_of


def load(
    path: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto"
) -> StampRecommender | BaselineRecommender:
    """Read what :meth:`StampRecommender.save`, or that of a baseline, wrote, on whatever device it was trained.

    Parameters
    ----------
    device, precision : str
        As of :class:`StampRecommender`; baselines have none.

    Raises
    ------
    RuntimeError
        The bundle is damaged, of another version, or not one: the message names file and tensor. Or the device cannot
        be had.
    ValueError
        It holds more than one model; open it with :class:`stamp.Recommender`.
    """
    bundle = _stamp.load_bundle(os.fspath(path), open_device(device, precision))
    if bundle.fallback is not None and not bundle.clusters:
        return opened(bundle)
    return model_of(path, bundle, device, precision)
