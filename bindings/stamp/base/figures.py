"""Figures: matplotlib where it is needed, the look that all share, and a drawing as part of a page."""

from __future__ import annotations

import functools
import io
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from .. import _stamp
from .extras import import_extra
from .files import check_file

# Of Okabe and Ito (2008), which colour-blind readers tell apart. page.css has each for light and for dark paper.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GREY = "0.55"
_MARKERS = "osD^vPX*"  # one more than colours, so that pairs repeat late

_Options = ParamSpec("_Options")


def import_pyplot() -> Any:
    return import_extra("matplotlib.pyplot", purpose="plotting", extra="plot")


def names_as_they_are(plot: Callable[_Options, Any]) -> Callable[_Options, Any]:
    """Texts between dollars are names of recommenders or kinds, no formulas."""

    @functools.wraps(plot)
    def drawn(*args: _Options.args, **options: _Options.kwargs) -> Any:
        import_pyplot()  # says what to install
        import matplotlib

        with matplotlib.rc_context({"text.parse_math": False}):
            return plot(*args, **options)

    return drawn


def styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each, told apart by either."""
    return {name: (COLORS[i % len(COLORS)], _MARKERS[i % len(_MARKERS)]) for i, name in enumerate(names)}


def tidy(axes: Any, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.92")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5)


def drawing(plot: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """What a function plots with matplotlib, as an <svg> element in the colours and letters of the page.

    The same plot gives the same text.
    """
    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "stamp", "svg.fonttype": "none"}):
        figure = plot(*arguments, **options)
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", _of_the_page, svg)


def _of_the_page(tag: re.Match[str]) -> str:
    """A tag of matplotlib's SVG as one of HTML, which needs no namespaces, with colours that follow the page's."""
    text = re.sub(r' (xmlns(:xlink)?|version)="[^"]*"', "", tag[0]).replace("xlink:href", "href")
    if text.startswith("<svg"):
        return re.sub(r' height="[^"]*"', "", text)
    if 'style="' not in text:
        return text
    text = re.sub(r"font-family: [^;\"]+", "font-family: inherit", text)
    text = re.sub(r"(font: [^;\"']*?px) [^;\"]+", r"\1 system-ui, sans-serif", text)  # as matplotlib 3.7 writes it
    return re.sub(r"#[0-9a-f]{6}\b", _colour, text)


def _colour(found: re.Match[str]) -> str:
    text = found[0]
    if text[1:3] == text[3:5] == text[5:7]:  # greys
        level = int(text[1:3], 16)
        named = {0: "currentColor", 255: "var(--paper)"}
        return named.get(level, "var(--quiet)" if level < 0xB0 else "var(--line)")
    return f"var(--series-{COLORS.index(text)})" if text in COLORS else text


def check_figure_file(path: str | os.PathLike[str]) -> None:
    """Raises, before there is a figure: RuntimeError where no file can be written to `path`, ValueError where its name
    does not end as one that matplotlib writes, ImportError without matplotlib."""
    check_file(path)
    import_pyplot()
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if pathlib.Path(path).suffix[1:].lower() not in known:
        raise ValueError(f"{os.fspath(path)}: expected a name that ends in one of .{', .'.join(known)}")


def save_figure(path: str | os.PathLike[str], figure: Any) -> None:
    """Written aside and renamed, as the end of the name says."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=pathlib.Path(path).suffix[1:].lower())
    _stamp.write_file(os.fspath(path), drawn.getvalue())
