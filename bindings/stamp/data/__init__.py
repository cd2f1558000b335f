"""Products, and what visitors did: raw clicks prepared, columns of any kind, sessions, made-up shops.

May import: base.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engines.bigquery import BigQueryEngine
    from .engines.duckdb import DuckDBEngine
    from .engines.spark import SparkEngine
    from .preparation.prepare import prepare
    from .prepared.partition import partition
    from .prepared.prepared import Prepared, open_prepared
    from .sources.mapping import EventMapping
    from .validation.checks import CHECKS
    from .validation.findings import Finding
    from .validation.policy import DataPolicy, data_policy_schema
    from .validation.profile import Profile
    from .validation.report import ValidationReport
    from .validation.validate import validate

_WHERE = {
    "BigQueryEngine": "engines.bigquery",
    "CHECKS": "validation.checks",
    "DataPolicy": "validation.policy",
    "DuckDBEngine": "engines.duckdb",
    "EventMapping": "sources.mapping",
    "Finding": "validation.findings",
    "Prepared": "prepared.prepared",
    "Profile": "validation.profile",
    "SparkEngine": "engines.spark",
    "ValidationReport": "validation.report",
    "data_policy_schema": "validation.policy",
    "open_prepared": "prepared.prepared",
    "partition": "prepared.partition",
    "prepare": "preparation.prepare",
    "validate": "validation.validate",
}

__all__ = [
    "BigQueryEngine",
    "CHECKS",
    "DataPolicy",
    "DuckDBEngine",
    "EventMapping",
    "Finding",
    "Prepared",
    "Profile",
    "SparkEngine",
    "ValidationReport",
    "data_policy_schema",
    "open_prepared",
    "partition",
    "prepare",
    "validate",
]


def __getattr__(name: str) -> Any:
    """What prepares raw clicks is imported when it is first asked for: it takes Ibis, which nothing else does."""
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    import importlib

    from ..base.extras import import_extra

    if not _WHERE[name].startswith("prepared."):
        import_extra("ibis", purpose=f"stamp.data.{name}", extra="prepare")
        import_extra("duckdb", purpose=f"stamp.data.{name}", extra="prepare")
    if name == "SparkEngine":
        import_extra("pyspark", purpose=f"stamp.data.{name}", extra="prepare-spark")
    if name == "BigQueryEngine":
        import_extra("google.cloud.bigquery", purpose=f"stamp.data.{name}", extra="prepare-bigquery")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
