"""Conditional writes of Google Cloud Storage and of S3."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from typing import Any

from ..base.extras import import_extra

_TRIES = 10  # where S3 says that another write is under way


@contextlib.contextmanager
def _refusals_named() -> Iterator[None]:
    """What Google refuses becomes a PermissionError, as of every other system."""
    from google.api_core import exceptions

    try:
        yield
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise PermissionError(str(error)) from error


class GCSObjects:
    """By generations. STORAGE_EMULATOR_HOST is heard, as by gcsfs."""

    def __init__(self, root: str):
        storage = import_extra("google.cloud.storage", purpose=f"a store in gs://{root}", extra="gcs")
        bucket, _, self._folder = root.partition("/")
        self._bucket: Any = storage.Client(project=None).bucket(bucket)

    def read(self, path: str) -> tuple[str, str] | None:
        from google.api_core import exceptions

        while True:  # until what is read is of one generation
            with _refusals_named():
                blob = self._bucket.get_blob(self._key(path))
                if blob is None:
                    return None
                try:
                    content = blob.download_as_bytes(if_generation_match=blob.generation)
                except (exceptions.NotFound, exceptions.PreconditionFailed):
                    continue
                return content.decode(), str(blob.generation)

    def create(self, path: str, text: str) -> bool:
        return self._write(path, text, 0)

    def swap(self, path: str, text: str, version: str) -> bool:
        return self._write(path, text, int(version))

    def _write(self, path: str, text: str, generation: int) -> bool:
        from google.api_core import exceptions

        with _refusals_named():
            try:
                self._bucket.blob(self._key(path)).upload_from_string(
                    text, content_type="application/json", if_generation_match=generation
                )
            except exceptions.PreconditionFailed:
                return False
        return True

    def _key(self, path: str) -> str:
        return f"{self._folder}/{path}".lstrip("/")


class S3Objects:
    """By ETags, with the session that s3fs has."""

    def __init__(self, system: Any, root: str):
        self._system = system
        self._bucket, _, self._folder = root.partition("/")

    def read(self, path: str) -> tuple[str, str] | None:
        async def get() -> tuple[str, str]:
            client = await self._system.set_session()
            answer = await client.get_object(Bucket=self._bucket, Key=self._key(path))
            return (await answer["Body"].read()).decode(), answer["ETag"]

        status, found = self._ask(get)
        return None if status == 404 else found

    def create(self, path: str, text: str) -> bool:
        return self._write(path, text, {"IfNoneMatch": "*"})

    def swap(self, path: str, text: str, version: str) -> bool:
        return self._write(path, text, {"IfMatch": version})

    def _write(self, path: str, text: str, condition: dict[str, str]) -> bool:
        async def put() -> None:
            client = await self._system.set_session()
            await client.put_object(
                Bucket=self._bucket,
                Key=self._key(path),
                Body=text.encode(),
                ContentType="application/json",
                **condition,
            )

        for _ in range(_TRIES):
            status, _nothing = self._ask(put)
            if status != 409:
                return status == 200
            time.sleep(random.uniform(0.05, 0.3))
        raise RuntimeError(f"another write of it was under way {_TRIES} times in a row; try again")

    def _ask(self, call: Any) -> tuple[int, Any]:
        """Status and answer; other statuses than 200 are those that mean something to a conditional call."""
        errors = import_extra("botocore.exceptions", purpose=f"a store in s3://{self._bucket}", extra="s3")
        from fsspec.asyn import sync

        try:
            return 200, sync(self._system.loop, call)
        except errors.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = error.response.get("Error", {}).get("Code")
            if status in (409, 412) or code == "NoSuchKey":
                return (status if status in (409, 412) else 404), None
            if status in (401, 403):
                raise PermissionError(str(error)) from error
            raise

    def _key(self, path: str) -> str:
        return f"{self._folder}/{path}".lstrip("/")
