"""Times, whatever column they come in, against Python's own datetime."""

import datetime as dt
import decimal
import io
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import stamp
from stamp.data.tables.times import microseconds, parse_span

UTC = dt.timezone.utc
# Whole seconds, years apart.
MOMENTS = [dt.datetime(2020, 9, 13, 12, 26, 40), dt.datetime(2014, 4, 1, 3, 0, 1), dt.datetime(2031, 1, 2, 23, 59, 59)]
SECONDS = [int(m.replace(tzinfo=UTC).timestamp()) for m in MOMENTS]
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def events(column):
    return {"session_id": [1, 1, 1], "item_id": [1, 2, 3], "timestamp": column}


def read(data):
    """What from_frame makes of the column, in the order in which the rows were."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sessions = stamp.Sessions.from_frame(data)
    assert sessions.timestamps.dtype == "datetime64[us]"
    times = dict(zip(sessions.session(0).tolist(), sessions.timestamps.tolist()))
    return [times[item] for item in (1, 2, 3)]


def numbers(unit):
    """Columns of unix time in every type that holds it."""
    values = [s * PER_SECOND[unit] for s in SECONDS]
    yield "list", events(values)
    yield "float64", events(np.array(values, np.float64))
    yield "uint64", events(np.array(values, np.uint64))
    yield "object", events(np.array(values, object))
    yield "numpy scalars", events(np.array([np.int64(v) for v in values] + [None], object)[:-1])
    yield "Decimal", events(np.array([decimal.Decimal(v) for v in values], object))
    yield "float objects", events(np.array([float(v) for v in values], object))
    yield "text", events([str(v) for v in values])
    yield "text of floats", events([f"{v}.0" for v in values])
    frame = pd.DataFrame(events(values))
    yield "pandas int64", frame
    yield "pandas Int64", frame.astype({"timestamp": "Int64"})
    yield "pandas UInt64", frame.astype({"timestamp": "UInt64"})
    yield "pandas Float64", frame.astype({"timestamp": "Float64"})
    yield "pandas convert_dtypes", frame.convert_dtypes()
    yield "pandas pyarrow", frame.convert_dtypes(dtype_backend="pyarrow")
    yield "pandas double[pyarrow]", frame.astype({"timestamp": float}).astype({"timestamp": "double[pyarrow]"})
    yield "pandas object", frame.astype({"timestamp": object})
    yield "pandas string", frame.astype({"timestamp": "string"})
    yield "pandas category", frame.astype({"timestamp": "category"})
    yield "polars", pl.DataFrame(events(values))
    yield "polars text", pl.DataFrame(events([str(v) for v in values]))
    yield "arrow", pa.table(events(values))
    yield "arrow decimal", pa.table(events(pa.array([decimal.Decimal(v) for v in values])))
    yield "arrow dictionary", pa.table(events(pa.array(values).dictionary_encode()))


@pytest.mark.parametrize("unit", PER_SECOND)
def test_unix_time_is_told_apart_by_its_size(unit):
    for name, data in numbers(unit):
        assert read(data) == MOMENTS, name


@pytest.mark.parametrize("unit", PER_SECOND)
def test_unix_time_in_files(unit, tmp_path):
    frame = pd.DataFrame(events([s * PER_SECOND[unit] for s in SECONDS]))
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.astype(str).to_csv(tmp_path / "quoted.csv", index=False, quoting=2)
    frame.to_parquet(tmp_path / "events.parquet")
    for path in tmp_path.iterdir():
        assert read(path) == MOMENTS, path.name


def test_fractions_of_seconds():
    exact = [1_600_000_000_250_000, 1_600_000_001_500_000]
    for column in (
        [1_600_000_000.25, 1_600_000_001.5],
        np.array([decimal.Decimal("1600000000.25"), decimal.Decimal("1600000001.5")], object),
        ["1600000000.25", "1600000001.5"],
        ["1.60000000025e9", "1600000001.5"],
        pa.array([1_600_000_000_250, 1_600_000_001_500]),
        pa.array([1_600_000_000_250_000_999, 1_600_000_001_500_000_000]),  # what microseconds cannot hold is left out
    ):
        assert microseconds("t", column).tolist() == exact


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "float32", "float64"])
def test_small_numbers_are_seconds(dtype):
    assert microseconds("t", np.array([3, 0, 1], dtype)).tolist() == [3_000_000, 0, 1_000_000]
    assert microseconds("t", np.array([], dtype)).tolist() == []


def test_before_1970():
    assert microseconds("t", [-5, 1_600_000_000]).tolist() == [-5_000_000, 1_600_000_000_000_000]
    assert microseconds("t", [-(10**12), -(10**11)]).tolist() == [-(10**15), -(10**14)]


def datetimes():
    """Columns of moments that are no numbers."""
    for unit in PER_SECOND:
        values = np.array(MOMENTS, f"datetime64[{unit}]")
        yield f"numpy {unit}", events(values)
        yield f"pandas {unit}", pd.DataFrame(events(values))
        yield f"arrow {unit}", pa.table(events(pa.array(values)))
        yield f"arrow {unit} zone", pa.table(events(pa.array(values).cast(pa.timestamp(unit, "Asia/Tokyo"))))
        if unit != "s":
            yield f"polars {unit}", pl.DataFrame(events(pl.Series(MOMENTS, dtype=pl.Datetime(unit))))
    yield "objects", events(np.array(MOMENTS, object))
    yield "list", events(MOMENTS)
    yield "timestamps", events(np.array([pd.Timestamp(m) for m in MOMENTS] + [None], object)[:-1])
    aware = [m.replace(tzinfo=UTC).astimezone(dt.timezone(dt.timedelta(hours=h))) for h, m in zip((2, -7, 0), MOMENTS)]
    yield "aware objects", events(np.array(aware, object))
    mixed = np.array([aware[0], MOMENTS[1], np.datetime64(MOMENTS[2])], object)
    yield "mixed objects", events(mixed)
    frame = pd.DataFrame(events(MOMENTS))
    zoned = frame["timestamp"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    yield "pandas zone", frame.assign(timestamp=zoned)
    yield "pandas objects", frame.astype({"timestamp": object})
    yield "pandas pyarrow", frame.convert_dtypes(dtype_backend="pyarrow")
    yield "pandas pyarrow zone", frame.assign(timestamp=zoned).convert_dtypes(dtype_backend="pyarrow")
    yield "polars zone", pl.from_pandas(frame.assign(timestamp=zoned))


def test_datetimes():
    for name, data in datetimes():
        assert read(data) == MOMENTS, name


def texts():
    offsets = [dt.timezone.utc, dt.timezone(dt.timedelta(hours=5, minutes=30)), dt.timezone(-dt.timedelta(hours=8))]
    zoned = [m.replace(tzinfo=UTC).astimezone(zone) for m, zone in zip(MOMENTS, offsets)]
    yield "T", [m.isoformat() for m in MOMENTS]
    yield "space", [str(m) for m in MOMENTS]
    yield "Z", [m.isoformat() + "Z" for m in MOMENTS]
    yield "fractions", [m.isoformat() + ".000Z" for m in MOMENTS]
    yield "nanoseconds", [m.isoformat() + ".000000999" for m in MOMENTS]
    yield "nanoseconds Z", [m.isoformat() + ".000000999Z" for m in MOMENTS]
    yield "UTC", [f"{m} UTC" for m in MOMENTS]
    yield "offsets", [m.isoformat() for m in zoned]
    yield "short offsets", [m.strftime("%Y-%m-%d %H:%M:%S%z") for m in zoned]
    yield "some offsets", [zoned[0].isoformat(), MOMENTS[1].isoformat(), zoned[2].isoformat()]
    yield "some names", [f"{MOMENTS[0]} UTC", MOMENTS[1].isoformat(), zoned[2].isoformat()]
    yield "spaced offsets", [f"{m:%Y-%m-%d %H:%M:%S} {m:%z}" for m in zoned]
    yield "of different length", [str(MOMENTS[0]), f"{MOMENTS[1]}.000", f"{MOMENTS[2]} UTC"]


def test_iso_texts(tmp_path):
    for name, values in texts():
        for data in (
            events(values),
            events(np.array(values, object)),
            pd.DataFrame(events(values)),
            pd.DataFrame(events(values)).astype({"timestamp": "string"}),
            pd.DataFrame(events(values)).convert_dtypes(dtype_backend="pyarrow"),
            pl.DataFrame(events(values)),
            pa.table(events(values)),
        ):
            assert read(data) == MOMENTS, (name, type(data))
        pd.DataFrame(events(values)).to_csv(tmp_path / "events.csv", index=False)
        assert read(tmp_path / "events.csv") == MOMENTS, name


def test_dates(tmp_path):
    days = [dt.date(2020, 9, 13), dt.date(2014, 4, 1), dt.date(2031, 1, 2)]
    midnights = [dt.datetime(d.year, d.month, d.day) for d in days]
    texts, numpy = list(map(str, days)), np.array(days, "datetime64[D]")
    for column in (days, texts, numpy, pa.array(days), pa.array(days, pa.date64())):
        assert read(events(column)) == midnights
    assert read(pl.DataFrame(events(days))) == midnights
    pd.DataFrame(events(days)).to_csv(tmp_path / "days.csv", index=False)
    assert read(tmp_path / "days.csv") == midnights
    assert read(events([f"{d:%Y-%m}" for d in days])) == [m.replace(day=1) for m in midnights]


def test_without_pyarrow_texts_are_read_the_same():
    """In a process that cannot import it."""
    code = """
import sys
sys.modules["pyarrow"] = None
from stamp.data.tables.times import microseconds
for line in sys.stdin:
    print(*microseconds("t", line.strip().split("|")).tolist())
"""
    given = [values for _, values in texts()] + [[str(s) for s in SECONDS]]
    lines = io.StringIO()
    lines.writelines("|".join(values) + "\n" for values in given)
    run = [sys.executable, "-W", "error", "-c", code]
    out = subprocess.run(run, input=lines.getvalue(), capture_output=True, text=True, check=True).stdout
    for line, values in zip(out.splitlines(), given, strict=True):
        assert [int(t) // 10**6 for t in line.split()] == SECONDS, values


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1_600_000_000, 1_600_000_000_000, 1], "has 1600000000000 in row 1, which is unix time in milliseconds, and "
         "1600000000 in row 0, which is seconds; expected one unit"),
        ([1_600_000_000_000_000, 1_600_000_000_000_000_000, 0], "nanoseconds, and 1600000000000000 in row 0, which is micro"),
        ([1.6e12, 1.6e15, 0.5], r"has 1600000000000000.0 in row 1.*microseconds, and 1600000000000.0 in row 0.*milliseconds"),
        (["1600000000", "1600000000000", "3"], "has 1600000000000 in row 1.*milliseconds, and 1600000000 in row 0"),
        ([1, 2, 2**63], "has 9223372036854775808 in row 2, which is no unix time"),
        ([1, 2, 2**80], "in row 2, which is no unix time"),
        ([1.0, 2.0, 1e19], "in row 2, which is no unix time"),
        ([1.0, np.nan, np.inf], "has 2 missing values, the first in row 1"),
        (pa.array([1, None, 2]), "has 1 missing values, the first in row 1"),
        (np.array([1, pd.NA, 2], object), "has 1 missing values, the first in row 1"),
        (np.array([pd.NaT, MOMENTS[0], MOMENTS[1]], object), "has 1 missing values, the first in row 0"),
        (np.array(["2020-01-01", "NaT", "2020-01-01"], "datetime64[s]"), "has 1 missing values, the first in row 1"),
        (["2020-01-01", "", "2020-01-01"], "has 1 missing values, the first in row 1"),
        (["2020-01-01", "yesterday", "2020-01-01"], "has 'yesterday' in row 1; expected datetimes, unix time or ISO 8601"),
        (["2020-01-01T00:00:00Z", "2020-02-30T00:00:00Z", "2020-01-01"], "has '2020-02-30T00:00:00Z' in row 1, which does not"),
        (["2020-01-01", "1600000000", "2020-01-01"], "has '1600000000' in row 1"),
        (["12:26:40", "12:26:41", "12:26:42"], "has '12:26:40' in row 0"),
        (["2020", "2021-01-01", "2020"], "has '2020' in row 0"),
        (np.array([1, "2020-01-01", 3], object), "has '2020-01-01' in row 1 and 1 in row 0; expected .*, all of one kind"),
        (np.array([MOMENTS[0], 5, MOMENTS[1]], object), "has 5 in row 1 and datetime.datetime"),
        ([True, False, True], "has dtype bool"),
        (np.array([True, 1, 2], object), "has True in row 0"),
        (pa.array([True, False, True]), "has True in row 0"),
        (pa.array([dt.time(1), dt.time(2), dt.time(3)]), r"has datetime.time\(1, 0\) in row 0"),
        (np.array([10**14, 0, 0], "datetime64[s]"), "in row 0, which microseconds cannot hold"),
        (pa.array([10**14, 0, 0], pa.timestamp("s")), "has a time that microseconds cannot hold"),
        ([20200913, 20200914, 20201231], "has 20200913 in row 0, a date written as a number"),
        (["20200913", "20200914", "20201231"], "has 20200913 in row 0, a date written as a number"),
        ([20200913122640, 20200914000000, 20201231235959], "has 20200913122640 in row 0, a date written as a number"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_named(column, message):
    with pytest.raises(ValueError, match="'timestamp' .*" + message):
        stamp.Sessions.from_frame(events(column))


def test_numbers_that_only_look_like_dates_are_seconds():
    assert microseconds("t", [20200913, 20200999]).tolist() == [20200913 * 10**6, 20200999 * 10**6]


@pytest.mark.parametrize(
    "moment",
    [
        1_600_000_000, 1_600_000_000_000, np.int64(1_600_000_000), np.int64(1_600_000_000_000), np.float64(1.6e9), 1.6e9,
        decimal.Decimal(1_600_000_000), "1600000000", "2020-09-13T12:26:40", "2020-09-13 12:26:40 UTC", "2020-09-13T12:26:40Z",
        "2020-09-13T14:26:40+02:00", MOMENTS[0], MOMENTS[0].replace(tzinfo=UTC), pd.Timestamp(MOMENTS[0], tz="Asia/Tokyo"),
        np.datetime64(MOMENTS[0], "ns"),
    ],
)  # fmt: skip
def test_a_single_moment_is_read_as_a_column_is(moment):
    expected = 1_600_000_000_000_000
    if isinstance(moment, pd.Timestamp):  # noon in Tokyo is not noon
        expected -= 9 * 3600 * 10**6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_span("call", moment) == ("time", expected)
    sessions = stamp.Sessions.from_frame(
        {"session_id": [1, 2, 3], "item_id": [1, 2, 3], "timestamp": [expected // 10**6 + s for s in (-1, 0, 1)]}
    )
    before, after = sessions.split_by_time(moment)
    assert (len(before), len(after)) == (1, 2)


@pytest.mark.parametrize("wrong", [True, None, "soon", "", np.datetime64("NaT"), float("nan"), [1, 2]])
def test_what_is_neither_span_nor_moment(wrong):
    with pytest.raises(ValueError, match="call: .* is neither a span"):
        parse_span("call", wrong)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_floats_that_do_not_hold_a_second_are_refused(dtype):
    exact = 2.0 ** np.finfo(dtype).nmant
    for column in (np.array([0, exact, exact + 1], dtype), [dtype(0), dtype(exact), dtype(exact + 1)]):
        assert microseconds("time", column).tolist() == [0, exact * 10**6, (exact + 1) * 10**6]
    for column in (
        np.array([0, 2 * exact], dtype),
        [dtype(0), dtype(2 * exact)],
        np.array([0, dtype(2 * exact)], object),
    ):
        with pytest.raises(ValueError, match=rf"row 1, which {np.dtype(dtype)} does not hold to the second"):
            microseconds("time", column)
    with pytest.raises(ValueError, match="float32"):
        stamp.Sessions.from_frame(events(np.array(SECONDS, np.float32)))
