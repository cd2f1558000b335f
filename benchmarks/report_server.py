"""Tables of the serving application, whose rows benchmarks/serve.py records."""

from __future__ import annotations

import statistics

from report_tables import latest, read, table, where


def served() -> list[str]:
    rows = read("serve")
    if not rows:
        return []

    def of(what: str, *keys: str) -> list[dict]:
        return latest([r for r in rows if r["what"] == what], "bundle", "store", "writes", *keys)

    def name(r: dict) -> str:
        return f"{r['models']} × {r['products'] // r['models']:,}, {r['store']}"

    def cores(r: dict) -> list[str]:
        return [f"{r['cpu_us']:,.0f}", f"{r['cores']:.2f}", f"{r['own_cores']:.2f}"]

    def not_200(r: dict) -> str:
        return f"{sum(n for status, n in r['statuses'].items() if status != '200') + sum(r['errors'].values()):,}"

    dim = rows[-1]["dim"]
    text = ["## The serving application", "`stamp-server` under an open loop on one machine with its generator: arrivals by "
            "Poisson, times from when a request was due. Requests write an event, or ask for 20 products under six rules at "
            f"the product just written. Models × products of each, D = {dim}; the store of events. Times are p50, p99 "
            "and p99.9 in milliseconds; CPU µs of the server a request, and the cores that server and generator used."]  # fmt: skip
    if rates := of("rate", "rate"):
        text.append(table(
            ["", "events, %", "planned a second", "answered", "lists: p50", "p99", "p99.9", "events: p50", "p99", "not 200", "degraded", "CPU µs", "cores", "generator's"],
            [[name(r), f"{100 * r['writes']:.0f}", f"{r['rate']:,}", f"{r['a_second']:,.0f}", *(f"{r['predict'][q]:.2f}" for q in ("p50_ms", "p99_ms", "p999_ms")),
              *(f"{r['write'][q]:.2f}" for q in ("p50_ms", "p99_ms")), not_200(r), f"{r['predict']['degraded']:,}", *cores(r)]
             for r in rates]))  # fmt: skip
    if found := of("capacity"):
        text += [f"Capacity: the highest rate at which all is answered and p99 stays below {found[0]['within_ms']:g} ms. Overload: half "
                 "as much again, for longer; what is answered with 200, as a share of capacity, its p99, what is degraded, what "
                 "else comes and how soon, and resident memory, in which the memory store keeps what is written.",
                 table(["", "events, %", "capacity", "lists: p99", "events: p99", "cores", "generator's", "overload: 200 of capacity, %", "lists: p99",
                        "degraded, %", "other: a second", "p50", "MiB before", "after"],
                       [[name(r), f"{100 * r['writes']:.0f}", f"{r['capacity']:,.0f}", f"{r['predict']['p99_ms']:.2f}", f"{r['write']['p99_ms']:.2f}", *cores(r)[1:],
                         f"{100 * (o['predict']['n'] + o['write']['n']) / o['seconds'] / o['capacity']:.0f}", f"{o['predict']['p99_ms']:.1f}",
                         f"{100 * o['predict']['degraded'] / max(1, o['predict']['n']):.0f}", f"{o['other']['n'] / o['seconds']:,.0f}",
                         f"{o['other']['p50_ms']:.2f}", f"{o['rss_before_mib']:.0f}", f"{o['rss_after_mib']:.0f}"]
                        for r, o in zip(found, of("overload"), strict=True)])]  # fmt: skip
    if alone := of("idle"):
        text += ["One request at a time: p50 in milliseconds, beside the library's call in a process of its own, in turns.",
                 table(["", "server", "library", "added"],
                       [[name(r), f"{r['server_ms']:.3f}", f"{r['library_ms']:.3f}", f"{r['server_ms'] - r['library_ms']:.3f}"]
                        for r in alone])]  # fmt: skip
    if reloads := of("reloads"):

        def each(values: list[float]) -> str:
            return ", ".join(f"{value:.2f}" for value in values)

        text += [f"Releases that come {reloads[0]['pause']} s after one another while {reloads[0]['rate']:,} requests a second do: p99 of lists in milliseconds of "
                 "runs without and with them, in turns, and the median of the ratios. What was not 200, with them; answers that "
                 "were no list of the release that they named, of those that were looked at; resident memory from the first tenth of the releases to the last.",
                 table(["", "releases", "seconds each", "p99 without", "p99 with", "ratio", "503", "failed", "torn", "MiB"],
                       [[name(r), f"{r['reloads']:,}", f"{r['reload_s']:.2f}", each(r["quiet"]["p99_ms"]), each(r["reloading"]["p99_ms"]),
                         f"{statistics.median(b / a for a, b in zip(r['quiet']['p99_ms'], r['reloading']['p99_ms'], strict=True)):.2f}",
                         f"{r['reloading']['refused']:,}", f"{r['reloading']['failed'] + r['reloads_failed']:,}", f"{r['torn']:,} of {r['checked']:,}",
                         ", ".join(f"{mib:.0f}" for mib in r["rss_mib"])] for r in reloads])]  # fmt: skip
    if shadows := of("shadow"):

        def median(r: dict, which: str, what: str) -> str:
            return f"{statistics.median(run[which][what] for run in r['rounds']):.2f}"

        text += [f"A candidate that is asked whatever it can be, at {shadows[0]['rate']:,} requests a second: p50 and p99 of lists in "
                 "milliseconds beside those of a server without one, in turns, medians; lists that the candidate was asked, and that were dropped.",
                 table(["", "p50 without", "p50 with", "p99 without", "p99 with", "cores without", "cores with", "asked", "dropped"],
                       [[name(r), *(median(r, which, what) for what in ("p50_ms", "p99_ms", "cores") for which in ("alone", "shadowing")),
                         f"{r['answered']:,.0f}", f"{r['dropped']:,.0f}"] for r in shadows])]  # fmt: skip
    if inventory := of("inventory"):
        text += [f"Prices set {inventory[0]['at_once']} at a time, one call after the other, each on disk before the next, at {inventory[0]['rate']:,} requests a second: "
                 "products set a second, milliseconds of a call, p99 of lists in milliseconds without and meanwhile. Medians.",
                 table(["", "set a second", "a call", "p99 without", "p99 meanwhile"],
                       [[name(r), f"{r['set_a_second']:,.0f}", f"{r['set_ms']:.1f}", f"{r['quiet_p99_ms']:.2f}", f"{r['busy_p99_ms']:.2f}"]
                        for r in inventory])]  # fmt: skip
    if stored := of("events"):
        r = stored[-1]
        text += [f"Events imported 10,000 a call, by {r['visitors'] - r['robots']:,} visitors and {r['robots']:,} robots, who write a third: of each "
                 f"visitor the latest {r['read_of_each']} are read, and at most twice as many are on disk, on average. Bytes on disk for each event that may be "
                 f"there, resident MiB ({r['before_mib']:.0f} before the first), CPU µs of the server for an event, JSON and all. Then a read of a random "
                 f"visitor took {r['read_us']:.0f} µs, mean of {r['reads']:,}, which left {r['read_mib']:.0f} MiB resident; half a minute after all were erased "
                 f"{r['erased_mib']:.0f} MiB were on disk.",
                 table(["events", "that may be on disk", "MiB on disk", "bytes each", "resident MiB", "CPU µs"],
                       [[f"{part['events']:,}", f"{part['most']:,}", f"{part['disk_mib']:.0f}", f"{part['disk_mib'] * 2**20 / part['most']:.0f}",
                         f"{part['rss_mib']:.0f}", f"{part['append_us']:.1f}"] for part in r["parts"]])]  # fmt: skip
    if parts := of("parts"):
        text += [f"What a request costs the server by part, CPU µs with {parts[0]['in_flight']} in flight, by difference: an empty "
                 "handler of 900 bytes; a list of popular products over it (JSON, admission, the list); encoding the session, whose "
                 "events come with the request, beside a scan of 64 products; the scan of all of them; looking events up in the store in place of these; six rules. Beside it an event written, over "
                 "the empty handler.",
                 table(["", "HTTP", "JSON, list", "encoding", "scan", "store: look up", "six rules", "together", "event written: JSON, store"],
                       [[name(r), *(f"{value:,.0f}" for value in (
                           r["empty_us"], r["popular_us"] - r["empty_us"], r["encoded_us"] - r["popular_few_us"],
                           r["inline_us"] - r["popular_us"] - (r["encoded_us"] - r["popular_few_us"]),
                           r["visitor_us"] - r["inline_us"], r["six_us"] - r["visitor_us"], r["six_us"], r["write_us"] - r["empty_us"]))]
                        for r in parts])]  # fmt: skip
    return [*text, where(rows)]
