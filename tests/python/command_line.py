"""The command line, called within this process: for what it says and how it ends. That a process of its own does so too is
for each verb to be shown once."""

import contextlib
import io
import subprocess

from stamp import cli


def call(*arguments, status=0):
    """As :func:`subprocess.run` gives it; a process costs a second, most of it imports."""
    words, out, err = [*map(str, arguments)], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            found = cli.main(words)
        except SystemExit as error:  # of what cannot be parsed
            found = error.code
    assert found == status, err.getvalue()
    return subprocess.CompletedProcess(words, found, out.getvalue(), err.getvalue())
