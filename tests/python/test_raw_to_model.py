"""From a raw file of every format to a trained model, by two commands."""

import json

import pytest

import stamp
from raw_samples import SAMPLES, write_sample
from stamp.cli import main


@pytest.mark.parametrize("name", SAMPLES)
def test_two_commands_make_a_model_of_every_format(name, tmp_path, capsys):
    sample = write_sample(name, tmp_path / "sample")
    prepared, model = tmp_path / "prepared", tmp_path / "model"
    assert (
        main(["prepare", "--source", str(sample.source), "--out", str(prepared), "--min-support", "1", "--json"]) == 0
    )
    counts = json.loads(capsys.readouterr().out)["counts"]
    options = ["--option", "epochs=1", "--option", "dim=8"]
    assert main(["train", str(prepared), "--out", str(model), "--device", "cpu", "--json", *options]) == 0
    assert counts["train_events"] > 100
    products = stamp.Sessions.from_frame(prepared).item_ids
    assert json.loads(capsys.readouterr().out)["products"] == len(products)
    ids, _ = stamp.load(model, device="cpu").recommend(products[:2].tolist(), k=3)
    assert set(ids) <= {*products}
