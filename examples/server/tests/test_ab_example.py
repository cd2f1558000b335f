"""From lists that were shown to what a test says of them, through the example that does it."""

import pathlib
import random
import subprocess
import sys

from stamp.offline import ab

EXAMPLE = pathlib.Path(__file__).parents[1] / "ab_test.py"


def test_exposures_and_orders_become_an_a_b_test(start, tmp_path):
    (tmp_path / "secret").write_text("a secret of the shop's, for this test")
    server = start(
        experiments=[{"name": "wider", "arms": [{"name": "control", "share": 5000}, {"name": "wide", "share": 5000}]}],
        exposures={"directory": str(tmp_path / "log")},
        secret_file=str(tmp_path / "secret"),
    )
    chance = random.Random(3)
    visitors: dict[str, list[int]] = {"control": [], "wide": []}
    orders = ["visitor_id,revenue"]
    for n in range(600):
        arm = server.predict("home", userEvent={"visitorId": f"visitor {n}"}).json["experiment"]["arm"]
        buys = chance.random() < {"control": 0.1, "wide": 0.3}[arm]
        visitors[arm].append(int(buys))
        if buys:
            orders.append(f"visitor {n},{chance.randint(10, 90)}")
    orders.append("somebody else,50")  # was shown nothing
    server.end()
    (tmp_path / "orders.csv").write_text("\n".join(orders))
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--exposures", tmp_path / "log", "--experiment", "wider", "--secret", tmp_path / "secret",
         tmp_path / "orders.csv"], capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = {arm: (sum(bought), len(bought)) for arm, bought in visitors.items()}
    truth = ab.proportions(control=counts["control"], treatment=counts["wide"])
    assert truth.verdict == "higher"
    assert str(truth) in done.stdout and str(ab.sample_ratio(*(n for _, n in counts.values()))) in done.stdout
    assert "revenue" in done.stdout or "value" in done.stdout
