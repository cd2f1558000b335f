"""What runs the expressions of preparation: DuckDB on this machine, Spark or BigQuery.

May import: base.
"""
