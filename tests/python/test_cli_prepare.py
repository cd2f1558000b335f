"""stamp prepare: what it says of a source, and which engine does the work. test_raw_to_model.py has every format."""

import pytest

from raw_samples import write_sample
from stamp.cli import main


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_what_was_found_out_is_said(tmp_path, capsys):
    sample = write_sample("retailrocket", tmp_path / "sample")
    _, _, err = run(capsys, "prepare", "--source", sample.source, "--out", tmp_path / "out")
    assert "prepare: The columns are those of RetailRocket." in err
    arguments = ("prepare", "--source", sample.source, "--out", tmp_path / "out", "--mapping", "otto")
    code, _, err = run(capsys, *arguments)
    assert code != 0 and "the mapping otto does not fit the columns event, itemid, timestamp" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "bigquery://shop.clicks.events_*"], "say where with --dataset PROJECT.DATASET"),
        (
            ["--source", "x.csv", "--dataset", "scratch"],
            "--dataset is an option of the engine bigquery, and this is duckdb",
        ),
        (
            ["--source", "spark://shop.clicks", "--threads", "1"],
            "--threads is an option of the engine duckdb, and this is s",
        ),
    ],
)
def test_options_of_other_engines_are_refused(arguments, message, tmp_path, capsys):
    code, _, err = run(capsys, "prepare", "--out", tmp_path / "out", *arguments)
    assert code == 2 and message in err
