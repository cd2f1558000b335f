"""Products, and what visitors did: columns of any kind, sessions, made-up shops.

May import: base.
"""
