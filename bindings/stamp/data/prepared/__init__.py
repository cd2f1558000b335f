"""Prepared data: their files in a folder at any URL, what lists them, reading them, and laying them out by cluster.

May import: base, tables, engines.
"""
