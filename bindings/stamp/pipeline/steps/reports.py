"""What a step says at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepReport:
    """What became of a step.

    Attributes
    ----------
    fingerprint : str
        Of what it made: equal where that is.
    passed : bool
        False where a policy says no: what would follow must not.
    reasons, warnings : list of str
        Why it did not pass; what people should know.
    counts : dict
        Figures of it, which JSON can have.
    """

    fingerprint: str
    passed: bool = True
    reasons: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    counts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StepReport:
        """Of :meth:`to_dict`; other keys are left."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})
