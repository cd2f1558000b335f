"""A small shop that says how it runs on Kubeflow, in all that can be said."""

import json

from small_shop import make_shop

IMAGE, GPU_IMAGE = (f"registry.example/{name}@sha256:{'0' * 64}" for name in ("stamp", "stamp-cuda"))
KUBEFLOW = {
    "image": IMAGE,
    "gpu_image": GPU_IMAGE,
    "shards": 2,
    "parallelism": 2,
    "retries": 3,
    "retry_seconds": 30,
    "resources": {
        "default": {"cpu": "1", "memory": "4Gi"},
        "prepare": {"memory": "32Gi", "memory_limit": "48Gi"},
        "train_shard": {"cpu": "4", "cpu_limit": "8", "gpus": 1, "node_selector": {"accelerator": "l4"}},
    },
    "node_selector": {"pool": "nightly"},
    "tolerations": [{"key": "nightly", "operator": "Exists", "effect": "NoSchedule"}],
    "secrets": [{"name": "s3", "env": {"key": "AWS_ACCESS_KEY_ID"}}, {"name": "gcp", "mount": "/secrets"}],
}


def make_kubeflow_shop(folder):
    """The path of a pipeline file, beside the clicks of 5 days."""
    mounted = [{"claim": "shop", "mount": str(folder)}]
    return make_shop(folder, kubeflow={**KUBEFLOW, "volumes": mounted}, schedule="30 3 * * *")


def changed(shop_file, **changes):
    """The path of another pipeline file beside it; None leaves a key out."""
    given = json.loads(shop_file.read_text())
    path = shop_file.parent / "other.json"
    path.write_text(json.dumps({key: value for key, value in {**given, **changes}.items() if value is not None}))
    return path
