"""Bundles, and recommending from them under rules.

May import: base, data, models.
"""
