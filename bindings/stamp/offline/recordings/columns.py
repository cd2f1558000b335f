"""Columns of sessions as NumPy's."""

from __future__ import annotations

import numpy as np

from ...data.sessions import Sessions
from ...data.tables.columns import find_missing


def column_of(sessions: Sessions, name: str) -> np.ndarray:
    """A column of the events, as NumPy's."""
    column = sessions.columns[name]
    return column.to_numpy(zero_copy_only=False) if hasattr(column, "to_numpy") else np.asarray(column)


def texts_of(sessions: Sessions, name: str) -> np.ndarray:
    """A column of the events as texts, "" where missing."""
    values = column_of(sessions, name)
    if values.dtype.kind not in "Of":  # which alone can say that a value is missing
        return values.astype(str)
    return np.where(find_missing(values.tolist()), "", values.astype(str))
