"""Files, progress, tables, pages, figures, policies: what every other room stands on.

May import: nothing of the other rooms.
"""
