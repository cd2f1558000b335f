"""What is recorded of benchmarks, as tables for people: rows of results/*.jsonl, Markdown, and where they come from."""

from __future__ import annotations

import json
import pathlib

ROOT = pathlib.Path(__file__).parents[1]


def read(name: str) -> list[dict]:
    path = ROOT / "benchmarks" / "results" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def latest(rows: list[dict], *keys: str) -> list[dict]:
    """The last result for each combination of `keys`, which not every row has."""
    return list({tuple(row.get(key) for key in keys): row for row in rows}.values())


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def where(rows: list[dict]) -> str:
    """On what they were measured, of which commit and by which command; and with which instruction sets, where rows say."""
    said: dict[str, dict[str, None]] = {}
    for r in rows:
        line = (
            f"{r.get('gpu') or r['processor']}, "
            + (f"driver {r['driver']}" if "driver" in r else f"{r['threads']} threads")
            + "{sets}"
            + f", commit {r['commit']}, {r['date']}: `{r['command']}`"
        )
        said.setdefault(line, {}).update({r["isa"]: None} if "isa" in r else {})
    return "\n".join(f"- {line.replace('{sets}', ''.join(f', {isa}' for isa in said[line]))}" for line in sorted(said))
