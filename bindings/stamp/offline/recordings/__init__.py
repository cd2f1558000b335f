"""What zones asked and what recommenders listed, as plain data.

May import: base, data, serving, splits.
"""
