"""Columns of sessions as NumPy's."""

from __future__ import annotations

import numpy as np

from ...data.sessions import Sessions
from ...data.tables.columns import as_numpy, plain_texts


def column_of(sessions: Sessions, name: str) -> np.ndarray:
    """A column of the events, as NumPy's."""
    return as_numpy(sessions.columns[name])


def texts_of(sessions: Sessions, name: str) -> np.ndarray:
    """A column of the events as texts, "" where missing."""
    return plain_texts(sessions.columns[name])
