"""prepared.json: what a folder of prepared data holds, and how one state of it takes the place of another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..._stamp import __version__
from ...base.folders import Folder
from ...base.json_text import strict_json_text
from .parts import PartFile

FILE = "prepared.json"
FORMAT = 1
ITEM_IDS = ("integer", "text")


@dataclass(frozen=True)
class ClusterCounts:
    """What the sessions have of a cluster.

    Attributes
    ----------
    products : int
        Different products among the events.
    events : int
    examples : int
        Whose anchor is in the cluster: the event before the target, which has a weight above 0.
    inside : int
        Of these, whose target is in the cluster, too.
    next : dict of int to int
        Examples by the cluster of their target, -1 for none.
    """

    products: int
    events: int
    examples: int
    inside: int
    next: Mapping[int, int]


@dataclass(frozen=True)
class Manifest:
    """The contents of prepared.json.

    Attributes
    ----------
    window : dict
        What days the data are of.
    options, mapping : dict
        How they were prepared, and what was read as what.
    item_ids : str
        "integer" or "text".
    counts : dict of str to int
        Of every step.
    quarantined : dict of str to int
        Rows by reason.
    clusters : dict of int to ClusterCounts
        Empty before a partition.
    labels : str or None
        Fingerprint of the products' clusters that the sessions are laid out by; None before a partition.
    files : tuple of PartFile
    replaced : tuple of str
        Paths that the state before listed and this one does not: removed once this one is published.
    stamp : str
        The version that wrote it.
    """

    window: Mapping[str, Any]
    options: Mapping[str, Any]
    mapping: Mapping[str, Any]
    item_ids: str
    counts: Mapping[str, int]
    quarantined: Mapping[str, int]
    files: tuple[PartFile, ...]
    clusters: Mapping[int, ClusterCounts] = dataclasses.field(default_factory=dict)
    labels: str | None = None
    replaced: tuple[str, ...] = ()
    stamp: str = __version__

    def __post_init__(self) -> None:
        if self.item_ids not in ITEM_IDS:
            raise ValueError(f"{FILE}: item_ids is {self.item_ids!r}, expected one of {', '.join(ITEM_IDS)}")

    @property
    def fingerprint(self) -> str:
        """Of all files: their paths and hashes."""
        return fingerprint(self.files)

    def below(self, folder: str) -> tuple[PartFile, ...]:
        """Files in a folder and below, in the order of their paths."""
        found = (file for file in self.files if file.path.startswith(f"{folder}/"))
        return tuple(sorted(found, key=lambda file: file.path))

    def to_json(self) -> str:
        contents = {"format": FORMAT, **dataclasses.asdict(self), "fingerprint": self.fingerprint}
        text = strict_json_text(FILE, contents)
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, where: str, text: str) -> Manifest:
        """Messages of ValueErrors, for what is no manifest or one of another format, begin with `where`."""
        try:
            read = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{where} is not JSON: {error}") from None
        if not isinstance(read, dict) or not isinstance(read.get("format"), int):
            raise ValueError(f"{where} does not say its format: it is not of prepared data")
        if read["format"] != FORMAT:
            raise ValueError(
                f"{where} is of format {read['format']}, this is stamp {__version__}, which reads format {FORMAT}; "
                "prepare the data anew with it, or read them with the version that wrote them, "
                f"{read.get('stamp', 'which is not said')}"
            )
        try:
            return cls(
                window=dict(read["window"]),
                options=dict(read["options"]),
                mapping=dict(read["mapping"]),
                item_ids=read["item_ids"],
                counts=dict(read["counts"]),
                quarantined=dict(read["quarantined"]),
                files=tuple(PartFile(**file) for file in read["files"]),
                clusters={int(cluster): _counts(counts) for cluster, counts in read["clusters"].items()},
                labels=read["labels"],
                replaced=tuple(read["replaced"]),
                stamp=read["stamp"],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} is of format {FORMAT}, but damaged: {error!r}") from None


def _counts(read: Mapping[str, Any]) -> ClusterCounts:
    return ClusterCounts(**{**read, "next": {int(cluster): n for cluster, n in read["next"].items()}})


def fingerprint(files: tuple[PartFile, ...]) -> str:
    """SHA-256 over the sorted paths and hashes of files."""
    digest = hashlib.sha256()
    for path, sha256 in sorted((file.path, file.sha256) for file in files):
        digest.update(f"{path}\0{sha256}\n".encode())
    return digest.hexdigest()


def read_manifest(target: Folder) -> Manifest | None:
    """None where there is none.

    Raises
    ------
    ValueError
        It is not JSON, of another format, or somebody else's.
    RuntimeError
        It cannot be read.
    """
    if target.size(FILE) is None:
        return None
    return Manifest.from_json(target.place(FILE), target.read_text(FILE))


def publish(target: Folder, manifest: Manifest) -> Manifest:
    """Let readers see a new state, all of whose files are written, and remove the files of the old one that are not of
    the new one: those that its prepared.json lists, and no others. A kill at any moment leaves one of the two states
    whole.

    Returns
    -------
    manifest : Manifest
        As it is there now.

    Raises
    ------
    ValueError
        There is a prepared.json that is not of this format.
    RuntimeError
        It cannot be written, and the new files are gone; or an old file cannot be removed, and the new state is there.
    """
    old = read_manifest(target)
    kept = {file.path for file in manifest.files}
    listed = () if old is None else (*(file.path for file in old.files), *old.replaced)
    manifest = dataclasses.replace(manifest, replaced=tuple(sorted({*listed} - kept)))
    text = manifest.to_json()
    try:
        target.publish(FILE, text)
    except BaseException:
        if not (target.size(FILE) and target.read_text(FILE) == text):
            for path in kept.difference(listed):
                target.remove(path)
        raise
    for path in manifest.replaced:
        target.remove(path)
    return manifest
