"""The components, each of which calls one function of the package.

Kubeflow copies the text of each into the pipeline: it has to say all that it needs.
"""

from kfp import dsl


def begin(shop: str, date: str, run: str, first: str) -> str:
    from stamp.pipeline.kubeflow import entry

    return entry.begin(shop, date, run, first)


def validate_data(shop: str, date: str, run: str, first: str) -> bool:
    from stamp.pipeline.kubeflow import entry

    return entry.do("validate_data", shop, date, run, first)


def prepare(shop: str, date: str, run: str, first: str, anew: bool) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.do("prepare", shop, date, run, first, anew=anew)


def train_full(shop: str, date: str, run: str, first: str) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.do("train_full", shop, date, run, first)


def cluster(shop: str, date: str, run: str, first: str) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.do("cluster", shop, date, run, first)


def partition(shop: str, date: str, run: str, first: str) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.do("partition", shop, date, run, first)


def plan(stage: str, shop: str, date: str, first: str) -> list[list[int]]:
    from stamp.pipeline.kubeflow import entry

    return entry.plan(stage, shop, date, first)


def train_shard(stage: str, shop: str, date: str, clusters: list[float]) -> int:
    from stamp.pipeline.kubeflow import entry

    return entry.train(stage, shop, date, clusters)


def train_judged(shop: str, date: str, run: str, first: str, failed: list[float]) -> bool:
    from stamp.pipeline.kubeflow import entry

    return entry.do("train_judged", shop, date, run, first)


def build_judged(shop: str, date: str, run: str, first: str) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.do("build_judged", shop, date, run, first)


def validate_model(shop: str, date: str, run: str, first: str) -> bool:
    from stamp.pipeline.kubeflow import entry

    return entry.do("validate_model", shop, date, run, first)


def train_released(shop: str, date: str, run: str, first: str, failed: list[float]) -> bool:
    from stamp.pipeline.kubeflow import entry

    return entry.do("train_released", shop, date, run, first)


def build_released(shop: str, date: str, run: str, first: str) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.do("build_released", shop, date, run, first)


def compare_bundles(shop: str, date: str, run: str, first: str) -> bool:
    from stamp.pipeline.kubeflow import entry

    return entry.do("compare_bundles", shop, date, run, first)


def upload(shop: str, date: str, run: str, first: str) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.do("upload", shop, date, run, first)


def update_serving(shop: str, date: str, run: str, first: str) -> bool:
    from stamp.pipeline.kubeflow import entry

    return entry.do("update_serving", shop, date, run, first)


def stop(shop: str, date: str, run: str) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.stop(shop, date, run)


def report(shop: str, run: str, status: dsl.PipelineTaskFinalStatus, page: dsl.Output[dsl.Markdown]) -> None:
    from stamp.pipeline.kubeflow import entry

    entry.report(shop, run, status.state, status.error_message, page.path)
