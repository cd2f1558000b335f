"""What Kubernetes gives the pod of a step: resources, retries, nodes, secrets, volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp import kubernetes

RETRIES, RETRY_SECONDS, RETRY_FACTOR = 2, 60, 2  # by default; each retry waits so many times as long as the one before
GPU = "nvidia.com/gpu"
_ALL = "default"


def resources_of(kubeflow: Mapping[str, Any], step: str) -> Mapping[str, Any]:
    """Those of a step: what is said of it, and else what is said of all."""
    given = kubeflow.get("resources", {})
    return {**given.get(_ALL, {}), **given.get(step, {})}


def check_steps(kubeflow: Mapping[str, Any], steps: tuple[str, ...]) -> None:
    """Raises ValueError where resources are given to a step that there is not."""
    for step in kubeflow.get("resources", {}):
        if step not in (_ALL, *steps):
            raise ValueError(f"kubeflow.resources has the key {step!r}, expected some of {', '.join((_ALL, *steps))}")


def set_platform(task: Any, kubeflow: Mapping[str, Any], step: str, *, retried: bool) -> None:
    """Tell KFP what the pipeline file says of a step. Raises ValueError where a value is none of Kubernetes."""
    own = resources_of(kubeflow, step)
    try:
        _set_resources(task, own)
    except ValueError as error:
        raise ValueError(f"kubeflow.resources of {step}: {error}") from None
    retries = kubeflow.get("retries", RETRIES)
    if retried and retries:
        task.set_retry(
            retries, backoff_duration=f"{kubeflow.get('retry_seconds', RETRY_SECONDS)}s", backoff_factor=RETRY_FACTOR
        )
    for label, value in {**kubeflow.get("node_selector", {}), **own.get("node_selector", {})}.items():
        kubernetes.add_node_selector(task, label_key=label, label_value=value)
    for toleration in kubeflow.get("tolerations", []):
        kubernetes.add_toleration(task, **toleration)
    for secret in kubeflow.get("secrets", []):
        if secret.get("env"):
            kubernetes.use_secret_as_env(task, secret_name=secret["name"], secret_key_to_env=secret["env"])
        if secret.get("mount"):
            kubernetes.use_secret_as_volume(task, secret_name=secret["name"], mount_path=secret["mount"])
    for volume in kubeflow.get("volumes", []):
        kubernetes.mount_pvc(task, pvc_name=volume["claim"], mount_path=volume["mount"])


def _set_resources(task: Any, given: Mapping[str, Any]) -> None:
    for name, set_it in (
        ("cpu", task.set_cpu_request),
        ("cpu_limit", task.set_cpu_limit),
        ("memory", task.set_memory_request),
        ("memory_limit", task.set_memory_limit),
    ):
        if name in given:
            set_it(given[name])
    if "gpus" in given:
        task.set_accelerator_type(given.get("gpu_type", GPU))
        task.set_accelerator_limit(given["gpus"])
