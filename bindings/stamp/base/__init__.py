"""Files, progress, figures: what every other room stands on.

May import: nothing of the other rooms.
"""
