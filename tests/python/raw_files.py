"""Raw samples as files, and what must come out of them."""

import csv
import datetime
import json
import pathlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from raw_events import Event, Line

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Sample:
    """Attributes
    ----------
    source : path
        A file or a folder.
    mapping : str
        What messages call the ready mapping that must be found for it.
    rows : list of dict
        What must be in the table of events, in any order.
    """

    source: pathlib.Path
    mapping: str
    rows: Rows


def lines_of(events: Iterable[Event]) -> Iterator[tuple[Event, Line]]:
    return ((event, line) for event in events for line in event.lines)


def floor_to(time_us: int, unit: int) -> int:
    return time_us // unit * unit


def write_csv(
    path: pathlib.Path, header: Iterable[str] | None, rows: Iterable[Iterable[object]], delimiter=","
) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        if header is not None:
            writer.writerow(header)
        writer.writerows(rows)


def write_json_lines(path: pathlib.Path, rows: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def zulu(at: datetime.datetime, timespec: str = "milliseconds") -> str:
    return at.replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
