"""What can be said of lists, of a question or of all together, and kinds of questions to say it of.

May import: base, data, recordings.
"""
