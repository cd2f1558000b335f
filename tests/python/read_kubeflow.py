"""What a compiled pipeline says, read with Kubeflow's own messages: unknown fields are errors, and so are texts where numbers
belong."""

import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2


class Compiled:
    def __init__(self, path):
        spec, platform = yaml.safe_load_all(path.read_text())
        self.spec = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        # A Struct takes anything: typing errors in it show once it is read as what it is.
        self.deployment = json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        self.platform = {
            name: json_format.ParseDict(given, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
            for name, given in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items()
        }

    def container(self, executor):
        return self.deployment.executors[executor].container

    def tasks(self):
        """Of all that run in pods: the task, and its executor."""
        for component in [self.spec.root, *self.spec.components.values()]:
            for task in component.dag.tasks.values():
                executor = self.spec.components[task.component_ref.name].executor_label
                if executor:
                    yield task, executor

    def outline(self):
        """All tasks in an order that they may run in, with what they wait for, nested as they are."""
        return "\n".join(self._lines(self.spec.root.dag, 0))

    def _lines(self, dag, depth):
        left = dict(dag.tasks)
        while left:
            ready = min(name for name, task in left.items() if not left.keys() & set(task.dependent_tasks))
            task = left.pop(ready)
            inner = self.spec.components[task.component_ref.name].dag
            if ready.startswith("condition-branches"):  # around what is done if, and what is done else
                yield from self._lines(inner, depth)
                continue
            yield "  " * depth + _title(ready, task, inner)
            yield from self._lines(inner, depth + 1)


def _title(name, task, inner):
    told = name
    if task.trigger_policy.condition:
        told = "if " + task.trigger_policy.condition.replace("inputs.parameter_values", "").replace(
            "pipelinechannel--", ""
        )
    elif task.HasField("parameter_iterator"):
        items = task.parameter_iterator.items.input_parameter.replace("pipelinechannel--", "")
        told = f"for each of {items}, {task.iterator_policy.parallelism_limit} at a time"
    elif inner.tasks:
        told = name.rstrip("-0123456789")
    after = sorted(each.rstrip("-0123456789") for each in task.dependent_tasks)
    return told + (f" (after {', '.join(after)})" if after else "")
