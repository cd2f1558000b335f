"""What obp 0.5.7 (Open Bandit Pipeline) estimates from a made-up log, for test_off_policy.py: obp_peer.json.

obp wants a Python below 3.11, and NumPy 1.23.5 and torch 1.12 exactly, so it stands beside nothing that is tested here.
Made with its own environment, in which torch, which its estimators do not use, is a stand-in:

    python3.10 -m venv obp
    obp/bin/pip install numpy==1.23.5 scikit-learn==1.1.3 pandas==1.5.3 scipy==1.9.3 matplotlib==3.6.3 seaborn==0.12.2 \\
        tqdm pyyaml pyieoe
    obp/bin/pip install --no-deps obp==0.5.7
    obp/bin/python tests/python/obp_peer.py > tests/python/obp_peer.json
"""

import json
import sys
import unittest.mock

import numpy as np

ROWS, PRODUCTS, SLOTS = 600, 7, 3


def made_log():
    """Of uniform numbers alone, which all versions of NumPy draw alike. Arrays by name: [N], or [N,products,slots]."""
    random = np.random.default_rng(20)
    logged = random.random((ROWS, PRODUCTS, SLOTS)) + 0.05
    logged /= logged.sum(axis=1, keepdims=True)
    evaluated = random.random((ROWS, PRODUCTS, SLOTS)) ** 3
    evaluated /= evaluated.sum(axis=1, keepdims=True)
    slot = (random.random(ROWS) * SLOTS).astype(int)
    every = np.arange(ROWS)
    item = (random.random(ROWS)[:, None] > np.cumsum(logged[every, :, slot], axis=1)).sum(axis=1)
    predicted = random.random((ROWS, PRODUCTS, SLOTS)) / 2
    reward = (random.random(ROWS) < 0.1 + 0.05 * item - 0.03 * slot).astype(float)
    return {
        "item": item,
        "slot": slot,
        "reward": reward,
        "propensity": logged[every, item, slot],
        "logged": logged,
        "evaluated": evaluated,
        "predicted": predicted,
    }


def main() -> None:
    torch = unittest.mock.MagicMock()
    torch.utils.data.Dataset = torch.nn.Module = object  # of which obp makes classes
    names = ("torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils", "torch.utils.data")
    sys.modules.update(dict.fromkeys(names, torch))
    from obp.ope import DoublyRobust, InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting

    log = made_log()
    peers = {
        "ips": InverseProbabilityWeighting(),
        "snips": SelfNormalizedInverseProbabilityWeighting(),
        "dr": DoublyRobust(),
    }
    found = {}
    for name, rows in [("all", log["slot"] >= 0), *((str(s + 1), log["slot"] == s) for s in range(SLOTS))]:
        part = {key: values[rows] for key, values in log.items()}
        given = {"reward": part["reward"], "action": part["item"], "pscore": part["propensity"],
                 "action_dist": part["evaluated"], "position": part["slot"]}  # fmt: skip
        found[name] = {
            estimator: peer.estimate_policy_value(
                **given, **({"estimated_rewards_by_reg_model": part["predicted"]} if estimator == "dr" else {})
            )
            for estimator, peer in peers.items()
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
