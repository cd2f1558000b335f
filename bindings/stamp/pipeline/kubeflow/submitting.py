"""A night, or all nights to come, handed to Kubeflow Pipelines."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ...base.extras import import_extra
from ...base.streams import STDERR
from ..running import check_stage, day_of
from ..shop import Shop
from .compiling import compile

TOKEN = "KUBEFLOW_TOKEN"  # environment variable with what the server wants to see
_PAGE = 100  # of a list


@dataclasses.dataclass(frozen=True, kw_only=True)
class Submitted:
    """What Kubeflow was given.

    Attributes
    ----------
    id : str
        Of the run, or of the recurring run.
    name : str
        Of it, as people see it.
    shop : str
        URL of the pipeline file.
    schedule : str or None
        Cron of a recurring run, six fields, UTC.
    replaced : list of str
        Ids of recurring runs of this shop that were there, and are no more.
    """

    id: str
    name: str
    shop: str
    schedule: str | None = None
    replaced: list[str] = dataclasses.field(default_factory=list)


def submit(
    shop: Shop | str | os.PathLike[str] | Mapping[str, Any],
    *,
    host: str,
    date: str | datetime.date | None = None,
    first: str | None = None,
    anew: bool = False,
    recurring: bool = False,
    namespace: str | None = None,
    experiment: str | None = None,
    service_account: str | None = None,
) -> Submitted:
    """Compile the pipeline of a shop and run it on Kubeflow Pipelines: now, or on the shop's schedule.

    The environment variable KUBEFLOW_TOKEN has the token that the server wants, where it wants one.

    Parameters
    ----------
    shop : Shop, path of a pipeline file, or what such a file holds
    host : str
        URL of the API of Kubeflow Pipelines.
    date : day, optional
        The last day of the data: the day before the run by default.
    first : name of a stage, optional
        Do it and all that follow again, whether they are done or not.
    anew : bool
        Prepare all days of the source again.
    recurring : bool
        By the shop's schedule, one run at a time, none for times that were missed. It takes the place of the recurring run
        that this shop has.
    namespace, experiment, service_account : str, optional
        Of Kubernetes; of Kubeflow, the pipeline's name by default; that pods run as.

    Raises
    ------
    ValueError
        As :func:`compile`; or a recurring run has a date, or no schedule.
    RuntimeError
        The server cannot be reached, or says no.
    """
    shop = shop if isinstance(shop, Shop) else Shop.read(shop)
    cron = _cron(shop) if recurring else None
    if recurring and (date is not None or first is not None or anew):
        raise ValueError("submit: date, first and anew are of one run, not of a recurring one")
    if first is not None:
        check_stage("first", first)
    day = None if date is None else str(day_of(date, datetime.datetime.now(datetime.timezone.utc)))
    name = f"stamp-{shop.name}"
    # KFP says where to look, on the output that is for results.
    with tempfile.TemporaryDirectory() as folder, _errors_named(host), contextlib.redirect_stdout(STDERR):
        package = os.path.join(folder, f"{name}.yaml")
        url = compile(shop, package)
        client = _client(host, namespace)
        found = client.create_experiment(experiment or name, namespace=namespace).experiment_id
        if cron is None:
            given = {"date": day, "first": first, "anew": anew or None}
            arguments = {key: value for key, value in given.items() if value is not None}
            title = f"{name} {day or 'of the day before'}"
            made = client.run_pipeline(
                found, title, pipeline_package_path=package, params=arguments, service_account=service_account
            )
            return Submitted(id=made.run_id, name=title, shop=url)
        before = _recurring(client, found, name)
        made = client.create_recurring_run(
            found, name, cron_expression=cron, max_concurrency=1, no_catchup=True, pipeline_package_path=package,
            service_account=service_account,
        )  # fmt: skip
        for each in before:  # last, so that there is one at any time
            client.delete_recurring_run(each)
        return Submitted(id=made.recurring_run_id, name=name, shop=url, schedule=cron, replaced=before)


def _cron(shop: Shop) -> str:
    """Kubeflow's has seconds before the five fields that others know."""
    schedule = shop.given.get("schedule")
    if schedule is None:
        raise ValueError(f"submit: the pipeline file of {shop.name} has no schedule, expected one as '30 3 * * *'")
    fields = str(schedule).split()
    if len(fields) not in (5, 6):
        raise ValueError(f"submit: schedule is {schedule!r}, expected five fields as '30 3 * * *', or six with seconds")
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def _client(host: str, namespace: str | None) -> Any:
    kfp = import_extra("kfp", purpose="submitting to Kubeflow", extra="pipeline")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it says that it is for servers of version 2
        given = {} if namespace is None else {"namespace": namespace}
        return kfp.Client(host=host, existing_token=os.environ.get(TOKEN), **given)


def _recurring(client: Any, experiment: str, name: str) -> list[str]:
    """Ids of the recurring runs of this name."""
    found, token = [], ""
    while True:
        page = client.list_recurring_runs(page_token=token, page_size=_PAGE, experiment_id=experiment)
        found += [each.recurring_run_id for each in page.recurring_runs or [] if each.display_name == name]
        token = page.next_page_token
        if not token:
            return found


@contextlib.contextmanager
def _errors_named(host: str) -> Iterator[None]:
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        raise RuntimeError(
            f"submit: {host} says {error.status} {error.reason}: {error.body or 'nothing more'}"
        ) from error
    except urllib3.exceptions.HTTPError as error:
        raise RuntimeError(f"submit: {host} cannot be reached: {error}") from error
