"""From events to sessions: what is trained on.

May import: base, tables, engines, sources, prepared.
"""
