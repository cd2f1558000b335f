"""Files, progress, tables, pages, figures, extras, policies: what every other room stands on.

May import: nothing of the other rooms.
"""
