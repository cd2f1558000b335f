"""What docs/serving.md shows: its examples, and the C interface as its Python opens it."""

import pathlib
import re

import numpy as np
import pytest

import stamp
from small_bundles import save_model

ROOT = pathlib.Path(__file__).parents[2]


def blocks(language):
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(("language", "example"), [("cpp", "main.cpp"), ("c", "main.c")])
def test_the_documentation_shows_what_compiles(language, example):
    def stripped(text):
        return [line.strip() for line in text.splitlines()]

    source = stripped((ROOT / "examples" / "consumer" / example).read_text(encoding="utf-8"))
    assert blocks(language)
    for block in map(stripped, blocks(language)):
        assert block in [source[i : i + len(block)] for i in range(len(source))]


@pytest.fixture(scope="module")
def c_interface():
    [snippet] = [block for block in blocks("python") if block.startswith("import ctypes")]
    names = {}
    exec(compile(snippet, "docs/serving.md", "exec"), names)
    return names


def test_ctypes(c_interface, recommender, built, tmp_path):
    library = c_interface["open_library"](str(pathlib.Path(stamp.__file__).parent / "libstamp.so.0"))
    assert library.stamp_version().decode() == stamp.__version__
    c = c_interface["Recommender"](library, str(built), device="cpu")
    for events, options in (
        (["a1", "nobody", "a3"], {"k": 3}),
        (["a1"], {"zone": "cart"}),
        ([], {}),
        (["b0", "x0"], {"rules": [{"rule": "pin", "products": ["x1"]}, {"rule": "exclude_seen"}]}),
    ):
        ids, scores, path = c.recommend(events, **options)
        expected = recommender.recommend(events, **options)
        assert ids == expected.ids.tolist() and path == expected.path
        np.testing.assert_array_equal(np.float32(scores), expected.scores)
    for options, message in (
        ({"zone": "basket"}, "zone is 'basket', expected one of b, cart, home"),
        ({"rules": [{"rule": "?"}]}, r"rules\[0\].rule is '\?'"),
        ({"k": -1}, "k is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            c.recommend(["a1"], **options)
    with pytest.raises(RuntimeError, match="holds no manifest.json"):
        c.reload(str(tmp_path))
    assert c.recommend(["a1"])[0] == recommender.recommend(["a1"]).ids.tolist()
    save_model(tmp_path / "numbers", [5, -3, 9], 4, [1, 2, 3])
    c.reload(str(tmp_path / "numbers"))
    assert c.recommend([9])[0] == stamp.Recommender(tmp_path / "numbers", device="cpu").recommend([9]).ids.tolist()
    c.close()
    with pytest.raises(RuntimeError, match="/nothing/here"):
        c_interface["Recommender"](library, "/nothing/here")
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        c_interface["Recommender"](library, str(built), device="tpu")
