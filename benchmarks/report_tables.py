"""What is recorded of benchmarks, as tables for people: rows of results/*.jsonl, Markdown, and where they come from."""

from __future__ import annotations

import json
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
TITLES = {"yoochoose1_64": "Yoochoose 1/64", "diginetica": "Diginetica (sorted)", "retailrocket": "RetailRocket",
          "yoochoose_week": "Yoochoose, a week", "retailrocket_week": "RetailRocket, a week"}  # fmt: skip


def read(name: str) -> list[dict]:
    path = ROOT / "benchmarks" / "results" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def latest(rows: list[dict], *keys: str) -> list[dict]:
    """The last result for each combination of `keys`, which not every row has."""
    return list({tuple(row.get(key) for key in keys): row for row in rows}.values())


def on_cpu(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row.get("device", "cpu") == "cpu"]


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


def speeds(row: dict) -> dict[str, float]:
    """Examples/s of stamp and of each peer."""
    return {name: result["speed"] for name, result in row.items() if isinstance(result, dict) and "speed" in result}


def limits(rows: list[dict]) -> dict[str, float]:
    """What a GPU does at best: bytes a second of a copy, flops a second of a product by unit."""
    best: dict[str, float] = {}
    for row in rows:
        if row["group"] == "limits" and row["variant"].startswith("copy"):
            best["bytes"] = max(best.get("bytes", 0), row["bytes"] / row["us"] * 1e6)
        if row["group"] == "limits" and row["variant"] == "product":
            best[row["unit"]] = max(best.get(row["unit"], 0), row["flops"] / row["us"] * 1e6)
    return best


def share(row: dict, best: dict[str, float]) -> float:
    """The time that the binding limit asks for, over the time it took."""
    return 1e6 * max(row["bytes"] / best["bytes"], row["flops"] / best[row["unit"]]) / row["us"]
