"""A release on a page, and whether it may go on.

May import: base, data, serving, calibration, splits, recordings, metrics, replays, verdicts.
"""
