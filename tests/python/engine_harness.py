"""The engines that preparation must agree on, each started once in a run of tests. Fixtures: see conftest.py."""

import os
import sys
from typing import NoReturn

import pytest

import stamp

SPARK_ZONE = "America/New_York"  # of the session that is given, which is not to matter


@pytest.fixture(scope="session")
def spark_session(tmp_path_factory):
    """A user's local Spark, in a zone that is not UTC. An engine must leave it as it is."""
    try:
        from pyspark.sql import SparkSession

        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        session = (
            SparkSession.builder.master("local[2]")
            .appName("tests")
            .config("spark.driver.memory", "2g")
            .config("spark.sql.session.timeZone", SPARK_ZONE)
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("spark")))
            .getOrCreate()
        )
    except Exception as error:  # without a JRE, PySpark raises one of its own
        absent("Spark", error)
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def zetasql():
    """BigQuery's SQL on small tables: :class:`zetasql_engine.ZetaSql`."""
    try:
        from zetasql_engine import ZetaSql
    except ImportError as error:
        absent("ZetaSQL", error)
    return ZetaSql()


@pytest.fixture(scope="module")
def duck():
    with stamp.data.DuckDBEngine(memory=1 << 30) as engine:
        yield engine


@pytest.fixture(scope="module")
def spark(spark_session):
    """Spark beside a user's session, which is to stay as it is."""
    with stamp.data.SparkEngine(spark_session) as engine:
        yield engine
    assert spark_session.conf.get("spark.sql.session.timeZone") == SPARK_ZONE
    assert spark_session.catalog.listTables() == []
    assert spark_session.sql("SHOW TABLES IN global_temp").collect() == []


@pytest.fixture(scope="module")
def big_client(zetasql):
    """BigQuery without tables, on ZetaSQL; its engine is `big_query`."""
    from zetasql_bigquery import ZetaSqlClient

    return ZetaSqlClient(zetasql, {}, datasets=("scratch", "clicks"))


@pytest.fixture(scope="module")
def big_query(big_client):
    with stamp.data.BigQueryEngine(dataset="scratch", client=big_client, storage_client=object()) as engine:
        yield engine
    assert [name for name in big_client.tables if name.startswith("shop.scratch.")] == []


def absent(engine: str, error: object) -> NoReturn:
    """Skips, or fails where all engines are required."""
    missing = f"NOT TESTED ON {engine}: {type(error).__name__}: {error}"
    if os.environ.get("STAMP_REQUIRE_ENGINES") == "1":
        pytest.fail(f"{missing} (STAMP_REQUIRE_ENGINES=1)")
    pytest.skip(missing)
