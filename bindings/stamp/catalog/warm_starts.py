"""Models that training begins with: yesterday's, each cluster with its own."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib

from .. import _stamp
from ..models.stamp_recommender import StampRecommender, load_cluster

_MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """The model of a cluster in a bundle; a saved model is a bundle of one."""

    path: str
    cluster: int

    @classmethod
    def find(cls, given: str | os.PathLike[str] | None, cluster: int) -> WarmStart | None:
        """What `cluster` begins with: its own model of a bundle of several or of what :func:`train_clusters` left, None
        where it has none there; the model of a bundle of one, whichever that is. Raises ValueError for what is neither.
        """
        if given is None:
            return None
        folder = pathlib.Path(given)
        if (folder / _MANIFEST).is_file():
            ids = [part["id"] for part in _stamp.read_bundle(str(folder)).clusters]
            if not ids:
                raise ValueError(f"warm_start: {folder} holds no model of a cluster")
            [own] = ids if len(ids) == 1 else [cluster]
            return cls(str(folder), own) if own in ids else None
        if not (folder / "report.json").is_file():
            raise ValueError(
                f"warm_start: {folder} holds no report.json of train_clusters, nor the manifest.json of a model"
            )
        model = folder / str(cluster) / "model"
        return cls.find(model, cluster) if model.is_dir() else None

    @property
    def identity(self) -> str:
        """Equal for bundles of equal contents: the manifest has the checksums of the files."""
        return hashlib.blake2b(pathlib.Path(self.path, _MANIFEST).read_bytes()).hexdigest()

    @property
    def bytes(self) -> int:
        """Of what is read of it."""
        files = [*pathlib.Path(self.path).glob("*.safetensors")]
        files += pathlib.Path(self.path, "clusters").glob(f"{self.cluster}.*safetensors")
        return sum(file.stat().st_size for file in files)

    def load(self) -> StampRecommender:
        return load_cluster(self.path, self.cluster, device="cpu")
