"""docs/validation.md says what the code does. Run as a program, this writes its table of checks."""

import json
import pathlib
import re

import stamp.data
from stamp.base.tables import Table

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "validation.md"
BEGIN, END = "<!-- checks: written by tests/python/test_validation_docs.py -->\n", "<!-- end of checks -->\n"


def table_of_checks():
    rows = [
        [
            f"`{check.name}`",
            check.measure,
            "" if check.warn is None else check.shown(check.warn),
            "" if check.stop is None else check.shown(check.stop),
            "yes" if check.above_usual else "",
            check.why,
        ]
        for check in stamp.data.CHECKS.values()
    ]
    return Table(["check", "what is measured", "warn", "stop", "above usual", "why there"], rows).to_markdown() + "\n"


def written(text):
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table_of_checks() + END + rest.partition(END)[2]


def test_the_table_of_checks_is_the_codes():
    text = PAGE.read_text("utf-8")
    assert text == written(text), f"run python {pathlib.Path(__file__).name}"


def test_the_policy_of_the_page_is_one():
    [example] = re.findall("```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    policy = stamp.data.DataPolicy.read(json.loads(example))
    assert [rule.check for rule in policy.rules] == ["day_low", "no_visitor", "category_mix", "several_currencies"]


def test_checks_that_the_page_names_are_there():
    text = PAGE.read_text("utf-8").partition("## When a check stops")[2]
    named = {name for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall("`(.*?)`", cell)}
    assert len(named) > 15 and named <= set(stamp.data.CHECKS)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
