"""The public cases of reading rows, which Google's Python client for Bigtable ships in its sources: writes them to a file.

STAMP_READ_ROWS_CASES=$(python read_rows_cases.py DIRECTORY) build/server/tests/bigtable/test_bigtable_read_rows
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile

PACKAGE = "google-cloud-bigtable"
VERSION = "2.50.2"
MEMBER = "tests/unit/data/read-rows-acceptance-test.json"


def main() -> None:
    out = pathlib.Path(sys.argv[1]) / f"read-rows-cases-{VERSION}.json"
    if not out.exists():
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--no-binary={PACKAGE}"]
                + [f"--dest={directory}", f"{PACKAGE}=={VERSION}"],
                check=True,
                stdout=sys.stderr,
            )
            (archive,) = pathlib.Path(directory).glob("*.tar.gz")
            with tarfile.open(archive) as sources:
                (name,) = [name for name in sources.getnames() if name.endswith("/" + MEMBER)]
                cases = sources.extractfile(name).read()
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(cases)
    print(out.resolve())


if __name__ == "__main__":
    main()
