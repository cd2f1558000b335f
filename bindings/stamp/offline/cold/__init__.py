"""How well recommenders list products that nobody has clicked yet, and what is trivial there.

May import: base, data, models, splits, recordings, metrics, replays, verdicts.
"""
