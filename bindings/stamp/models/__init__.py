"""Recommenders, one model or one a cluster, baselines; what they are measured by and compute on.

May import: base, data.
"""
