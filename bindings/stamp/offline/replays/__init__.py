"""Asking recommenders as zones would, of sessions that they have not learnt from, and tables of what they listed.

May import: base, data, models, serving, splits, recordings, metrics.
"""
