"""The engine that a source wants, by its name or by the scheme of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...base.extras import import_extra

if TYPE_CHECKING:
    from .engine import Engine

ENGINES = ("duckdb", "spark", "bigquery")  # and the schemes of their tables
_OWNERS = {"memory": "duckdb", "spill": "duckdb", "threads": "duckdb", "dataset": "bigquery", "allow": "bigquery"}
_PACKAGES = {"duckdb": ("ibis", "duckdb"), "spark": ("ibis", "pyspark"), "bigquery": ("ibis", "google.cloud.bigquery")}
_GIB = 2**30


def open_engine(
    source: str,
    *,
    name: str | None = None,
    memory: float | None = None,
    spill: str | None = None,
    threads: int | None = None,
    dataset: str | None = None,
    allow: float | None = None,
    option: str = "{}",
) -> Engine:
    """The engine `name`, by default the one whose table `source` is, or else DuckDB, in this process.

    Parameters
    ----------
    memory, allow : float
        GiB.
    option : str
        How messages write an option: "--{}" of a command line.

    Raises
    ------
    ValueError
        An option is another engine's, or BigQuery has no dataset.
    ImportError
        Its packages are missing.
    """
    given: dict[str, Any] = {"memory": memory, "spill": spill, "threads": threads, "dataset": dataset, "allow": allow}
    scheme = source.partition("://")[0]
    name = name or (scheme if scheme in ENGINES else "duckdb")
    for each, owner in _OWNERS.items():
        if given[each] is not None and name != owner:
            raise ValueError(f"{option.format(each)} is an option of the engine {owner}, and this is {name}")
    extra = "prepare" if name == "duckdb" else f"prepare-{name}"
    for package in _PACKAGES[name]:
        import_extra(package, purpose=f"the engine {name}", extra=extra)
    if name == "duckdb":
        from .duckdb import DuckDBEngine

        return DuckDBEngine(memory=None if memory is None else round(memory * _GIB), spill=spill, threads=threads)
    if name == "spark":
        from .spark import SparkEngine

        return SparkEngine()
    if dataset is None:
        raise ValueError(
            f"the engine bigquery keeps intermediate results; say where with {option.format('dataset')} PROJECT.DATASET"
        )
    from .bigquery import BigQueryEngine

    allowed: dict[str, Any] = {} if allow is None else {"allow": round(allow * _GIB)}
    return BigQueryEngine(dataset=dataset, **allowed)
