"""Pages: one HTML file that needs nothing else, with a verdict and sections of tables and figures."""

from __future__ import annotations

import html
import importlib.resources
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .policies import Verdict
from .tables import Table

_OUTCOMES = {
    "passed": "good", "better": "good", "warned": "warn",
    "failed": "bad", "not judged": "bad", "worse": "bad", "refused": "bad",
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A drawing, what it shows, and what is to be read where it cannot be seen."""

    svg: str
    caption: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page; `key` names it in JSON."""

    key: str
    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    code: str = ""


def render(title: str, about: str, verdict: Verdict | None, sections: Sequence[Section]) -> str:
    """The page. All that it is given is text, and is escaped; only drawings are taken as they are."""
    style = importlib.resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    ids = itertools.count(1)
    links = "".join(f'<li><a href="#{section.key}">{_text(section.title)}</a></li>' for section in sections)
    body = "\n".join(_section(section, ids) for section in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p class="about">{_text(about)}</p>
{_verdict(verdict)}
</header>
<nav aria-label="Contents"><ul>{links}</ul></nav>
<main>
{body}
</main>
</body>
</html>
"""


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        kind, answer, text = "none", "Not judged", "No policy was given: the figures below are for people to judge."
    elif verdict.passed:
        n, warned = len(verdict.judgements), len(verdict.warnings)
        kind, answer, text = "passed", "May go on", f"{_count(n, 'check')} of the policy passed."
        if warned:
            kind = "warned"
            text = f"{_count(n, 'check')} of the policy passed, {warned} of them with a warning:"
    else:
        n, failed = len(verdict.judgements), len(verdict.reasons)
        kind, answer, text = "failed", "Must not go on", f"{failed} of {_count(n, 'check')} of the policy did not pass:"
    reasons, warnings = (verdict.reasons, verdict.warnings) if verdict else ([], [])
    also = f"<p>{_count(len(warnings), 'warning')}:</p>{_list(warnings)}" if reasons and warnings else ""
    return (
        f'<section class="verdict {kind}" aria-label="Verdict"><p class="answer">{answer}</p>'
        f"<p>{_text(text)}</p>{_list(reasons or warnings)}{also}</section>"
    )


def _list(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _section(section: Section, ids: Iterator[int]) -> str:
    parts = [f"<p>{_text(paragraph)}</p>" for paragraph in section.text]
    parts += [_figure(figure, ids) for figure in section.figures]
    parts += [_table(table, ids) for table in section.tables]
    if section.code:
        parts.append(f"<pre><code>{_text(section.code)}</code></pre>")
    inner = "\n".join(parts)
    return f'<section id="{section.key}">\n<h2>{_text(section.title)}</h2>\n{inner}\n</section>'


def _table(table: Table, ids: Iterator[int]) -> str:
    """The first column heads the rows, unless it holds numbers. Wide tables scroll within themselves."""
    id = f"table-{next(ids)}"
    right = table._right()

    def cell(place: int, text: str) -> str:
        tag, scope = ("th", ' scope="row"') if place == 0 and not right[0] else ("td", "")
        kind = "number" if right[place] else "text"
        return f'<{tag}{scope} class="{" ".join(filter(None, (kind, _OUTCOMES.get(text))))}">{_text(text)}</{tag}>'

    head = "".join(
        f'<th scope="col" class="{"number" if r else "text"}">{_text(name)}</th>'
        for name, r in zip(table.columns, right)
    )
    rows = "\n".join("<tr>" + "".join(cell(i, text) for i, text in enumerate(row)) + "</tr>" for row in table._cells())
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in table.notes)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{id}"><table>'
        f'<caption id="{id}">{_text(table.title)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>{notes}"
    )


def _figure(figure: Figure, ids: Iterator[int]) -> str:
    svg = _unique(figure.svg, f"drawing-{next(ids)}-")
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{_text(figure.text)}" ', 1)
    caption = _text(figure.caption)
    return (
        f'<figure><div class="scroll" tabindex="0" role="region" aria-label="{caption}">{svg}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _unique(svg: str, prefix: str) -> str:
    """Ids that no other drawing of the page has."""

    def prefixed(tag: re.Match[str]) -> str:
        marked = re.sub(r'( id="| href="#)', rf"\1{prefix}", tag[0])
        return marked.replace("url(#", f"url(#{prefix}")

    return re.sub(r"<[^>]+>", prefixed, svg)
