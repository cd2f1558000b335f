"""The serving application under load, beside the library alone: time of one request, rates, capacity, overload, what a
request costs by part, what callers notice of releases that come meanwhile and of a candidate's shadow, and what ten
million events cost the embedded store.

    cmake -S examples/server -B build/server -G Ninja -DCMAKE_PREFIX_PATH=… && ninja -C build/server
    STAMP_DATA=… python benchmarks/serve.py [--bundles one clusters] [--stores memory embedded] [--what idle parts …]

Server and generator (benchmarks/server) share this machine; the generator's share is in the results. Weights are untrained.
Visitors walk through RetailRocket's sessions where STAMP_DATA has them, else through made-up ones: each look is an event
that is written, then a list that is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from statistics import median

import numpy as np
from common import NO_FILTERS, ROOT, median_of, random_model, record
from rules import SIX, attributes

import stamp
from stamp import _stamp

PRODUCTS, DIM, K = 50_000, 100, 20
MODELS = {"one": 1, "clusters": 5}  # of as many products each
ZONES = {"six": {"rules": SIX}, "plain": {"rules": []}}
LIMIT_MS = 10
SERVING = ROOT / "build" / "serving"
FEW = 64  # products that a list may hold, where the scan is to cost nothing
ROBOTS, PEOPLE = 500, 1_000_000  # the first write a third of the events, each of them far more than are read
READ = 200  # events of a visitor, the server's default
ALL = ("idle", "parts", "rates", "capacity", "reloads", "shadow", "inventory", "events")


def bundle(name: str, seed: int = 42, few: bool = False) -> pathlib.Path:
    path = SERVING / (f"{name}-{seed}" + ("-few" if few else ""))
    if not path.exists():
        random = np.random.default_rng(1)
        catalog = _stamp.Catalog("integers")
        catalog.add_integers(range(PRODUCTS))
        clusters = [(i, rows, random_model(len(rows), DIM, seed=seed), "{}", "", "{}")
                    for i, rows in enumerate(np.array_split(np.arange(PRODUCTS, dtype=np.int32), MODELS[name]))]  # fmt: skip
        counts = list(range(PRODUCTS, 0, -1))
        listed = [{"rule": "only_products", "products": list(range(0, PRODUCTS, PRODUCTS // FEW))}] if few else []
        rules = json.dumps({"build": listed, "zones": ZONES})
        made = _stamp.Bundle(catalog, counts, attributes(PRODUCTS, random), clusters, [], rules)
        _stamp.save_bundle(str(path), made, scan_tables=True)
    return path


def sessions() -> list[list[int]]:
    """Products are numbered as they appear, so that those of a session are mostly in one cluster, as in a real shop."""
    folder = pathlib.Path(os.environ.get("STAMP_DATA", "")) / "retailrocket"
    if not folder.exists():
        random = np.random.default_rng(2)
        starts = random.integers(0, PRODUCTS, 50_000)
        return [((start + random.integers(0, 100, 1 + random.geometric(0.25))) % PRODUCTS).tolist() for start in starts]
    numbers: dict[str, int] = {}
    found = []
    for part in ("train", "test"):
        with gzip.open(folder / f"{part}.tsv.gz", "rt") as file:
            next(file)
            found += [[numbers.setdefault(item, len(numbers)) for item in line.split("\t")[1].split()] for line in file]
    spread = PRODUCTS / len(numbers)
    return [[int(spread * item) for item in session] for session in found]


def written(name: str, walks: list[list[int]]) -> pathlib.Path:
    path = SERVING / f"{name}.txt"
    path.write_text("".join(f"v{i} {' '.join(map(str, walk))}\n" for i, walk in enumerate(walks)))
    return path


class Server:
    """A program that prints its port, until the end of the `with`."""

    def __init__(self, *command: object) -> None:
        self.process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.findall(r"at http://\S+?:(\d+)", line):
                self.port, self.admin_port = int(found[0]), int(found[-1])
                return
        raise RuntimeError(f"{command[0]} ended with {self.process.wait()}")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.stderr.read()
        self.process.wait(60)


def post(connection: http.client.HTTPConnection, path: str, body: object = None) -> tuple[int, dict]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def digest_of(folder: pathlib.Path) -> str:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    lines = (f"{hashlib.sha256(files[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class Releases:
    """A directory that a server watches. Bundles come in turn, each time under another name, which begins with its number."""

    def __init__(self, bundles: list[pathlib.Path]) -> None:
        self.path = SERVING / "releases"
        shutil.rmtree(self.path, ignore_errors=True)
        (self.path / "releases").mkdir(parents=True)
        self.bundles = [(path, digest_of(path)) for path in bundles]
        self.came = 0

    def next(self) -> str:
        number = self.came % len(self.bundles)
        path, digest = self.bundles[number]
        name = f"{number}-{self.came}"
        self.came += 1
        (self.path / "releases" / name).symlink_to(path)
        aside = self.path / "aside.json"
        aside.write_text(json.dumps({"release": name, "digest": digest, "since": ""}))
        aside.rename(self.path / "current.json")
        return name


def usage(server: Server) -> tuple[float, float]:
    """CPU seconds so far, resident MiB."""
    process = pathlib.Path(f"/proc/{server.process.pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    pages = int((process / "statm").read_text().split()[1])
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


def metric(server: Server, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.admin_port}/metrics") as reply:
        return next(float(line.split()[-1]) for line in reply.read().decode().splitlines() if line.startswith(name))


class Reloading:
    """Until the end of the `with` releases come one after the other, and some answers are held against the list of the
    release that they name."""

    def __init__(self, server: Server, releases: Releases, query: dict, truth: list[list[str]], pause: float) -> None:
        self.server, self.releases, self.query, self.truth, self.pause = server, releases, query, truth, pause
        self.seconds: list[float] = []  # of each reload
        self.rss_mib: list[float] = []  # after each
        self.checked, self.torn, self.failed = 0, 0, 0
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._reload), threading.Thread(target=self._check)]

    def __enter__(self) -> Reloading:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _reload(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.admin_port, timeout=60)
        while not self._ending.wait(self.pause):
            name = self.releases.next()
            start = time.perf_counter()
            status, body = post(connection, "/release:reload")
            self.seconds.append(time.perf_counter() - start)
            self.failed += status != 200 or body["release"] != name
            self.rss_mib.append(usage(self.server)[1])

    def _check(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        while not self._ending.wait(0.02):
            status, body = post(connection, "/v1/servingConfigs/six:predict", self.query)
            if status != 200 or "degraded" in body:
                continue  # which the generator counts, of its own
            self.checked += 1
            listed = [result["id"] for result in body["results"]]
            self.torn += listed != self.truth[int(body["release"].partition("-")[0])]


class Setting:
    """Until the end of the `with` prices are set, one call after the other."""

    AT_ONCE = 100

    def __init__(self, server: Server, random: np.random.Generator) -> None:
        self.server, self.random = server, random
        self.calls: list[float] = []  # seconds
        self.products = self.failed = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._set)

    def __enter__(self) -> Setting:
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self._began

    def _set(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        while not self._ending.is_set():
            ids = self.random.integers(0, PRODUCTS, self.AT_ONCE)
            prices = np.round(np.exp(self.random.normal(3, 0.7, self.AT_ONCE)), 2)
            named = [
                {"id": int(id), "priceInfo": {"price": float(price)}} for id, price in zip(ids, prices, strict=True)
            ]
            start = time.perf_counter()
            status, _ = post(connection, "/v1/products:setInventory", {"products": named})
            self.calls.append(time.perf_counter() - start)
            self.products += self.AT_ONCE
            self.failed += status != 200


class Bench:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        SERVING.mkdir(parents=True, exist_ok=True)
        self.walks = sessions()
        self.sessions = written("sessions", self.walks)
        self.seed = 0
        # Nobody's products: answered by popular ones, without a model.
        self.strangers = written("strangers", [[PRODUCTS + item for item in walk] for walk in self.walks[:10_000]])

    def start(
        self, name: str, store: str, visits: str = "visits", few: bool = False, **more: object
    ) -> contextlib.AbstractContextManager[Server]:
        folder = SERVING / visits
        shutil.rmtree(folder, ignore_errors=True)
        config = {"bundle": str(bundle(name, few=few)), "http": {"port": 0}, "admin": {"port": 0},
                  "visits": {"store": store, "path": str(folder)}, **more}  # fmt: skip
        file = SERVING / "server.json"
        file.write_text(json.dumps(config))
        return Server(self.args.build / "stamp-server", "--config", file)

    def load(self, server: Server, **options: object) -> dict:
        """By visitors of their own, unless `seed` says whose."""
        self.seed += 1
        options = {"sessions": self.sessions, "seed": self.seed, "seconds": self.args.seconds, "warm": 1,
                   "writes": self.args.writes, "zone": "six", "k": K, "within_ms": LIMIT_MS, "port": server.port,
                   "pid": server.process.pid, **options}  # fmt: skip
        command = [str(self.args.build / "benchmarks" / "stamp-load")]
        for option, value in options.items():
            command += [f"--{option.replace('_', '-')}"] + ([] if value is True else [str(value)])
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    def idle(self, name: str, store: str) -> dict:
        """One request at a time, in turns with the library's own call in this process."""
        release = _stamp.Recommender(str(bundle(name)), device="cpu", precision="auto", lazy=False, memory=0).release()
        query = {**NO_FILTERS, "k": K, "bought": [], "zone": "six"}
        random = np.random.default_rng(3)

        def library_ms() -> float:
            times = []
            for i in random.integers(0, 2000, 500):
                events = np.asarray(self.walks[i], np.int32)
                start = time.perf_counter()
                release.list(events, **query)
                times.append(1e3 * (time.perf_counter() - start))
            return float(np.median(times))

        with self.start(name, store) as server:
            visitors = {"visitors": 2000, "seed": 1}
            self.load(server, closed=32, writes=1, seconds=3, **visitors)
            rounds = [{"server": self.load(server, closed=1, writes=0, seconds=1, **visitors)["predict"]["p50_ms"],
                       "library": library_ms()} for _ in range(self.args.rounds)]  # fmt: skip
        result = {key: median_of(rounds, key) for key in ("server", "library")}
        return {"server_ms": result["server"], "library_ms": result["library"]}

    def parts(self, name: str, store: str) -> dict:
        """CPU microseconds of a request by what it needs, with so many in flight that lists share scans, as at capacity;
        where few are, waking threads is most of what is measured."""
        visitors = {"visitors": 2000, "seed": 1}
        at = {"closed": 32, "writes": 0, "zone": "plain", "seconds": 3, **visitors}
        lists = {"popular": {"sessions": self.strangers, "inline": True}, "inline": {"inline": True},
                 "visitor": {}, "six": {"zone": "six"}, "write": {"writes": 1, "seed": 2}}  # fmt: skip
        rounds = []
        with (
            Server(self.args.build / "benchmarks" / "empty-server") as empty,
            self.start(name, store, "visits-2", few=True) as few,
            self.start(name, store) as server,
        ):
            self.load(server, closed=32, writes=1, seconds=3, **visitors)  # all of their sessions, at least

            def cost(of: Server, options: dict) -> float:
                got = self.load(of, **{**at, **options})
                assert self.is_answered(got), got
                return got["cpu_us"]

            for _ in range(self.args.rounds):
                costs = {"empty": self.load(empty, **at)["cpu_us"], "popular_few": cost(few, lists["popular"]),
                         "encoded": cost(few, lists["inline"])}  # fmt: skip
                costs |= {what: cost(server, options) for what, options in lists.items()}
                rounds.append(costs)
        return {f"{what}_us": median_of(rounds, what) for what in rounds[0]} | {"in_flight": at["closed"]}

    def reloads(self, name: str, store: str) -> dict:
        """Runs without releases, each beside one while they come, at a rate that leaves the machine room."""
        bundles = [bundle(name), bundle(name, seed=43)]
        releases = Releases(bundles)
        releases.next()
        events = [str(product) for product in self.walks[0]]
        query = {"events": events, "k": K}
        truth = [
            stamp.Recommender(path, device="cpu").recommend(self.walks[0], zone="six", k=K).ids for path in bundles
        ]
        pairs, came, rate = [], [], self.args.third
        watched = {"path": str(releases.path), "poll_ms": 3_600_000}
        with self.start(name, store, bundle="", releases=watched) as server:
            post(http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=60), "/release:reload")
            reloading = (
                server,
                releases,
                query,
                [[str(product) for product in listed] for listed in truth],
                self.args.pause,
            )
            with Reloading(*reloading):  # memory for three releases
                self.load(server, rate=rate)
            while sum(len(one.seconds) for one in came) < self.args.reloads:
                quiet = self.load(server, rate=rate)
                with Reloading(*reloading) as coming:
                    pairs.append((quiet, self.load(server, rate=rate)))
                came.append(coming)

        def others(runs: list[dict], of: str) -> int:
            if of == "503":
                return sum(run["statuses"].get("503", 0) for run in runs)
            known = sum(n for run in runs for status, n in run["statuses"].items() if status not in ("200", "503"))
            return known + sum(sum(run["errors"].values()) for run in runs)

        result = {"rate": rate, "pause": self.args.pause, "reloads": sum(len(one.seconds) for one in came),
                  "reload_s": median(second for one in came for second in one.seconds),
                  "reloads_failed": sum(one.failed for one in came), "checked": sum(one.checked for one in came),
                  "torn": sum(one.torn for one in came)}  # fmt: skip
        rss = [mib for one in came for mib in one.rss_mib]
        result["rss_mib"] = [round(median(part), 1) for part in np.array_split(rss, 10)]  # from first to last
        for which, runs in zip(("quiet", "reloading"), zip(*pairs, strict=True), strict=True):
            result[which] = {"p50_ms": [run["predict"]["p50_ms"] for run in runs],
                             "p99_ms": [run["predict"]["p99_ms"] for run in runs],
                             "write_p99_ms": [run["write"]["p99_ms"] for run in runs],
                             "lists": sum(run["predict"]["n"] for run in runs),
                             "degraded": sum(run["predict"]["degraded"] for run in runs),
                             "refused": others(runs, "503"), "failed": others(runs, "failed"),
                             "cores": median(run["cores"] for run in runs)}  # fmt: skip
        return result

    def shadow(self, name: str, store: str) -> dict:
        """Two servers in turns, of which one asks a candidate whatever it can."""
        rounds = []
        shadow = {"bundle": str(bundle(name, seed=43)), "share": 10_000}
        with self.start(name, store) as alone, self.start(name, store, "visits-2", shadow=shadow) as shadowing:
            for server in (alone, shadowing):
                self.load(server, rate=self.args.third)
            for _ in range(self.args.rounds):
                pair = {"alone": alone, "shadowing": shadowing}
                got = {which: self.load(server, rate=self.args.third) for which, server in pair.items()}
                rounds.append({which: {of: run["predict"][of] for of in ("p50_ms", "p99_ms", "degraded")}
                               | {"cores": run["cores"], "statuses": run["statuses"]} for which, run in got.items()})  # fmt: skip
            counted = {outcome: metric(shadowing, f'stamp_shadow_requests_total{{outcome="{outcome}"}}')
                       for outcome in ("answered", "failed", "dropped")}  # fmt: skip
        return {"rate": self.args.third, "rounds": rounds, **counted}

    def inventory(self, name: str, store: str) -> dict:
        """A caller sets a hundred products' prices at a time, one call after the other, while lists are asked for."""
        random = np.random.default_rng(4)
        rounds = []
        with self.start(name, store, inventory={"path": str(SERVING / "inventory.sqlite")}) as server:
            self.load(server, rate=self.args.third)
            for _ in range(self.args.rounds):
                quiet = self.load(server, rate=self.args.third)
                with Setting(server, random) as setting:
                    busy = self.load(server, rate=self.args.third)
                rounds.append({"quiet_p99_ms": quiet["predict"]["p99_ms"], "busy_p99_ms": busy["predict"]["p99_ms"],
                               "set_a_second": setting.products / setting.seconds, "set_ms": 1e3 * median(setting.calls),
                               "failed": setting.failed + sum(busy["errors"].values())})  # fmt: skip
        return {"rate": self.args.third, "at_once": Setting.AT_ONCE, **{of: median_of(rounds, of) for of in rounds[0]}}

    def events(self, name: str, store: str) -> dict:
        """Imported in four parts, then read at random, then erased. `most` is what may be on disk: of each visitor twice
        as many as are read."""
        random = np.random.default_rng(4)
        parts, at_once = [], 10_000
        came = np.zeros(ROBOTS + PEOPLE, np.int64)
        with self.start(name, store) as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            _, before_mib = usage(server)
            for _ in range(4):
                cpu, _ = usage(server)
                for _ in range(self.args.events // 4 // at_once):
                    robots = random.integers(0, ROBOTS, at_once)
                    people = random.integers(ROBOTS, ROBOTS + PEOPLE, at_once)
                    visitors = np.where(random.random(at_once) < 1 / 3, robots, people)
                    np.add.at(came, visitors, 1)
                    events = [
                        {"eventType": "detail-page-view", "visitorId": f"visitor-{visitor}",
                         "productDetails": [{"product": {"id": str(product)}}]}
                        for visitor, product in zip(visitors, random.integers(0, PRODUCTS, at_once), strict=True)
                    ]  # fmt: skip
                    body = {"inputConfig": {"userEventInlineSource": {"userEvents": events}}}
                    status, reply = post(connection, "/v1/userEvents:import", body)
                    assert status == 200, reply
                after, rss_mib = usage(server)
                parts.append({"events": int(came.sum()), "most": int(np.minimum(came, 2 * READ).sum()),
                              "disk_mib": metric(server, 'stamp_visits{what="disk_bytes"}') / (1 << 20),
                              "rss_mib": rss_mib, "append_us": 1e6 * (after - cpu) / (self.args.events // 4)})  # fmt: skip
            reads = self.args.events // 500
            named = [f"visitor-{visitor}" for visitor in random.integers(0, ROBOTS + PEOPLE, reads)]
            took, n = (metric(server, f"stamp_visits_read_seconds_{what}") for what in ("sum", "count"))
            for visitor in named:
                asked = {"userEvent": {"eventType": "home-page-view", "visitorId": visitor}}
                status, reply = post(connection, "/v1/servingConfigs/plain:predict", asked)
                assert status == 200 and "degraded" not in reply
            took, n = (metric(server, f"stamp_visits_read_seconds_{what}") - was
                       for what, was in (("sum", took), ("count", n)))  # fmt: skip
            _, read_mib = usage(server)
            everything = {"filter": 'eventTime < "2100-01-01T00:00:00Z"', "force": True}
            status, reply = post(connection, "/v1/userEvents:purge", everything)
            assert status == 200, reply
            time.sleep(30)  # for the housekeeping, which goes on by itself
            erased_mib = metric(server, 'stamp_visits{what="disk_bytes"}') / (1 << 20)
        return {"visitors": ROBOTS + PEOPLE, "robots": ROBOTS, "read_of_each": READ, "before_mib": before_mib, "parts": parts,
                "reads": reads, "read_us": 1e6 * took / n, "read_mib": read_mib, "erased_mib": erased_mib}  # fmt: skip

    def is_answered(self, got: dict) -> bool:
        return set(got["statuses"]) == {"200"} and not any(got["errors"].values()) and not got["predict"]["degraded"]

    def holds(self, server: Server, rate: float) -> dict | None:
        """What came, if everything was answered and in time in one of three tries: others may want the machine a moment."""
        for _ in range(3):
            got = self.load(server, rate=rate)
            if self.is_answered(got) and max(got["predict"]["p99_ms"], got["write"]["p99_ms"]) < LIMIT_MS:
                return got
        return None

    def capacity(self, server: Server) -> dict:
        """At the highest rate that holds, to a twentieth of what a closed loop does."""
        most = self.load(server, closed=64, seconds=4)["a_second"]
        low, high, best = 0.0, 1.1 * most, None
        while high - low > most / 20:
            rate = (low + high) / 2
            if got := self.holds(server, rate):
                low, best = rate, got
            else:
                high = rate
        if best is None:
            raise RuntimeError(f"no rate from {high:.0f} on is answered within {LIMIT_MS} ms")
        return {"capacity": low, **best}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "server")
    parser.add_argument("--bundles", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--stores", nargs="+", choices=("memory", "embedded"), default=["memory", "embedded"])
    parser.add_argument("--what", nargs="+", choices=ALL, default=ALL)
    parser.add_argument("--rates", type=int, nargs="+", default=[1000, 5000, 8000])
    parser.add_argument(
        "--writes", type=float, default=0.5, help="share of events among the requests of rates and capacity"
    )
    parser.add_argument("--seconds", type=float, default=6, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="of idle, parts, shadow and inventory")
    parser.add_argument(
        "--third",
        type=int,
        default=4500,
        help="arrivals a second of reloads, shadow and inventory: about a third of the capacity",
    )
    parser.add_argument("--pause", type=float, default=0.25, help="seconds between reloads")
    parser.add_argument("--events", type=int, default=10_000_000, help="that are written")
    parser.add_argument("--reloads", type=int, default=200, help="at least, in runs of --seconds")
    args = parser.parse_args()
    bench = Bench(args)
    for name in args.bundles:
        for store in args.stores:
            of = {"bundle": name, "models": MODELS[name], "products": PRODUCTS, "dim": DIM, "store": store,
                  "writes": args.writes}  # fmt: skip

            def note(what: str, result: dict, of: dict = of) -> None:
                record("serve", {"what": what, **of, **result}, stamp.num_threads())

            for what in ("idle", "parts", "reloads", "shadow", "inventory"):
                if what in args.what:
                    note(what, getattr(bench, what)(name, store))
            if "events" in args.what and store == "embedded" and name == args.bundles[0]:
                note("events", bench.events(name, store))
            if "rates" in args.what:
                for rate in args.rates:
                    with bench.start(name, store) as server:
                        note("rate", bench.load(server, rate=rate, warm=3))
            if "capacity" in args.what:
                with bench.start(name, store) as server:
                    bench.load(server, rate=1000, seconds=3)
                    found = bench.capacity(server)
                    note("capacity", found)
                    over = bench.load(server, rate=1.5 * found["capacity"], seconds=15, connections=1024)
                    note("overload", {"capacity": found["capacity"], **over})


if __name__ == "__main__":
    main()
