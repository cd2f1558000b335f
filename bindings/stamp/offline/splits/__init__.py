"""Sessions to learn from and sessions to test on: windows of time, and what must not be in both.

May import: base, data.
"""
