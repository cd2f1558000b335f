"""The pipeline: its components in their order, the gates where a night may stop, the loops over shards.

Annotations stay what they are: KFP reads types of parameters, and takes no texts for them.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from kfp import dsl

from ..shop import Shop
from . import components
from .platform import check_steps, resources_of, set_platform
from .shards import SHARDS

STEPS = (
    "begin", "validate_data", "prepare", "train_full", "cluster", "partition", "plan", "train_shard", "train_judged",
    "build_judged", "validate_model", "train_released", "build_released", "compare_bundles", "upload", "update_serving",
    "stop", "report",
)  # fmt: skip
_ONCE = ("stop",)  # which has nothing that could be done better again


def make_pipeline(shop: Shop, url: str) -> Any:
    """The pipeline of KFP, whose parameters are the pipeline file at `url`, the day, the stage from which on all is done
    again, and whether to prepare anew.

    Nothing of it is cached by Kubeflow: it knows steps by their parameters, not by what lies in the work folder, where
    they find for themselves what is done.
    """
    kubeflow = shop.section("kubeflow")
    check_steps(kubeflow, STEPS)
    run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    parallelism = kubeflow.get("parallelism", kubeflow.get("shards", SHARDS))

    def step(name: str, **values: Any) -> Any:
        gpu = "gpus" in resources_of(kubeflow, name)
        image = kubeflow.get("gpu_image", kubeflow["image"]) if gpu else kubeflow["image"]
        component = dsl.component(
            getattr(components, name), base_image=image, packages_to_install=[], install_kfp_package=False
        )
        task = component(**values)
        task.set_caching_options(False)
        set_platform(task, kubeflow, name, retried=name not in _ONCE)
        return task

    def night(shop: str = url, date: str = "", first: str = "", anew: bool = False) -> None:
        def of_night(name: str, after: Any = None, **values: Any) -> Any:
            task = step(name, shop=shop, date=day, **values)
            return task if after is None else task.after(after)

        def in_turn(*names: str, **values: Any) -> Any:
            """Stages one after another. Returns the last one's task."""
            task = None
            for name in names:
                task = of_night(name, after=task, run=run, first=first, **(values if name == "prepare" else {}))
            return task

        def in_shards(name: str, after: Any = None) -> Any:
            """A stage that trains: shards side by side, and what is made of all."""
            plan = of_night("plan", after=after, stage=name, first=first)
            with dsl.ParallelFor(plan.output, parallelism=parallelism) as clusters:
                shard = of_night("train_shard", stage=name, clusters=clusters)
            return of_night(name, run=run, first=first, failed=dsl.Collected(shard.output))

        @contextlib.contextmanager
        def passed(gate: Any) -> Iterator[None]:
            """What is within is done if the gate's one output is True; else the run fails, with its reasons."""
            with dsl.If(gate.output == True):  # noqa: E712, it is a condition of the pipeline
                yield
            with dsl.Else():
                of_night("stop", run=run)

        with dsl.ExitHandler(step("report", shop=shop, run=run)):
            day = step("begin", shop=shop, date=date, run=run, first=first).output
            with contextlib.ExitStack() as gates:
                gates.enter_context(passed(in_turn("validate_data")))
                laid_out = in_turn("prepare", "train_full", "cluster", "partition", anew=anew)
                gates.enter_context(passed(in_shards("train_judged", after=laid_out)))
                gates.enter_context(passed(in_turn("build_judged", "validate_model")))
                gates.enter_context(passed(in_shards("train_released")))
                gates.enter_context(passed(in_turn("build_released", "compare_bundles")))
                served = in_turn("upload", "update_serving")
                with dsl.If(served.output == False):  # noqa: E712
                    of_night("stop", run=run)

    return dsl.pipeline(name=f"stamp-{shop.name}", description=f"The night of {shop.name}.")(night)
