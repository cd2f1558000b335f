"""Whether one recommender is better than another, or was lucky; and figures.

May import: base, data, splits, recordings, metrics, replays.
"""
