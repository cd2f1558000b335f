"""Which options of a model do best.

May import: base, data, models.
"""
