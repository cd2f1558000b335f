"""Columns of any kind: frames, files and lists as Arrow or NumPy arrays, ids, times, texts.

May import: base.
"""
