"""Ten training steps of an independent PyTorch model, as truth for tests/test_optimizer.cpp.

    pip install torch numpy && python tests/golden/make_golden.py

Writes one JSON file per configuration: initial weights, batches, and the loss before each step. The model here is
written from docs/model.md with padding and autograd, in double precision, and shares no code with the library.
"""

import json
import pathlib

import torch

torch.set_default_dtype(torch.float64)
V, D, B, STEPS = 23, 6, 7, 10

CONFIGS = {
    "paper": ({"residual": "none", "attention_bias": True, "mlp_bias": True}, {"learning_rate": 0.01}),
    "official": ({"residual": "mean", "max_norm": 1.0}, {"learning_rate": 0.02, "weight_decay": 0.01}),
    "cosine": (
        {"residual": "anchor", "normalization": "softmax", "score": "cosine", "scale": 8.0, "max_norm": 0.5},
        {"learning_rate": 0.01, "clip_norm": 0.3},
    ),
    "objectives": (
        {"residual": "mean", "attention_bias": True, "score": "cosine", "scale": 6.0, "objectives": ["cart", "order"]},
        {"learning_rate": 0.005},
    ),
}


def forward(w, config, histories, preferences):
    def bias(name):
        objectives = preferences @ w[f"{name}.objectives"] if config.get("objectives") else 0
        return w.get(f"{name}.bias", 0) + objectives

    longest = max(map(len, histories))
    mask = torch.tensor([[i < len(h) for i in range(longest)] for h in histories])
    ids = torch.tensor([h + [0] * (longest - len(h)) for h in histories])
    x = w["items"][ids]
    if config.get("max_norm"):
        length = x.norm(dim=-1, keepdim=True)
        x = x * torch.where(length > config["max_norm"], config["max_norm"] / length, torch.ones_like(length))
    x = x * mask[..., None]
    count = mask.sum(1, keepdim=True)
    anchor = x[torch.arange(len(histories)), count[:, 0] - 1]
    mean = x.sum(1) / count
    query = anchor @ w["attention.w2"].T + mean @ w["attention.w3"].T + bias("attention")
    energy = torch.sigmoid(x @ w["attention.w1"].T + query[:, None]) @ w["attention.w0"]
    if config.get("normalization") == "softmax":
        a = torch.softmax(energy.masked_fill(~mask, -torch.inf), dim=1)
    else:
        a = energy * mask
    memory = torch.einsum("bl,bld->bd", a, x)
    memory = memory + {"none": 0, "mean": mean, "anchor": anchor}[config["residual"]]
    h_s = torch.tanh(memory @ w["mlp_session.weight"].T + bias("mlp_session"))
    h_t = torch.tanh(anchor @ w["mlp_anchor.weight"].T + bias("mlp_anchor"))
    q, items = h_s * h_t, w["items"]
    if config.get("score") == "cosine":
        q = config["scale"] * torch.nn.functional.normalize(q, dim=-1)
        items = torch.nn.functional.normalize(items, dim=-1)
    return q @ items.T


def make(name, config, training):
    generator = torch.Generator().manual_seed(len(name))
    shapes = {"items": (V, D), "attention.w0": (D,)}
    shapes |= {f"attention.w{i}": (D, D) for i in (1, 2, 3)}
    shapes |= {"mlp_session.weight": (D, D), "mlp_anchor.weight": (D, D)}
    if config.get("attention_bias"):
        shapes["attention.bias"] = (D,)
    if config.get("mlp_bias"):
        shapes |= {"mlp_session.bias": (D,), "mlp_anchor.bias": (D,)}
    objectives = len(config.get("objectives", ()))
    if objectives:
        shapes |= {f"{name}.objectives": (objectives, D) for name in ("attention", "mlp_session", "mlp_anchor")}
    start = {k: torch.round(0.4 * torch.randn(s, generator=generator), decimals=4) for k, s in shapes.items()}
    w = {k: v.clone().requires_grad_() for k, v in start.items()}
    adam = torch.optim.AdamW(
        w.values(), lr=training["learning_rate"], weight_decay=training.get("weight_decay", 0.0), eps=1e-8
    )
    batches, losses = [], []
    for _ in range(STEPS):
        lengths = torch.randint(1, 6, (B,), generator=generator).tolist()
        histories = [torch.randint(0, V, (n,), generator=generator).tolist() for n in lengths]
        targets = torch.randint(0, V, (B,), generator=generator)
        weights = torch.randint(1, 5, (B,), generator=generator) / 4
        preferences = torch.randint(0, 9, (B, objectives), generator=generator) / 8
        scores = forward(w, config, histories, preferences)
        loss = (weights * torch.nn.functional.cross_entropy(scores, targets, reduction="none")).sum()
        loss = loss / weights.sum()
        adam.zero_grad()
        loss.backward()
        if "clip_norm" in training:
            torch.nn.utils.clip_grad_norm_(w.values(), training["clip_norm"])
        adam.step()
        losses.append(loss.item())
        batches.append({"histories": histories, "targets": targets.tolist(), "weights": weights.tolist()})
        if objectives:
            batches[-1]["preferences"] = preferences.flatten().tolist()
    result = {"config": {"dim": D, **config}, "train": training, "products": V, "losses": losses, "batches": batches}
    result["weights"] = {k: v.flatten().tolist() for k, v in start.items()}
    path = pathlib.Path(__file__).parent / f"{name}.json"
    path.write_text(json.dumps(result) + "\n")


for name, (config, training) in CONFIGS.items():
    make(name, config, training)
