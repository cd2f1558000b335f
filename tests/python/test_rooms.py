"""The rooms of the package: each imports what its docstring says, for types too, and nothing goes in circles."""

import ast
import graphlib
import pathlib
import re

import stamp

PACKAGE = pathlib.Path(stamp.__file__).parent
SHARED = {"stamp._stamp"}  # the library itself


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("stamp", *(parts[:-1] if parts[-1] == "__init__" else parts)))


PATHS = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = {name for name, path in PATHS.items() if path.name == "__init__.py"} - {"stamp"}


def imports_of(name):
    """Modules of the package that a module imports anywhere in it, in functions and for types included."""
    path, found = PATHS[name], set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "stamp"}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module.split(".")[0] == "stamp":
                submodules = {f"{module}.{alias.name}" for alias in node.names}
                found |= {sub if sub in PATHS or sub in SHARED else module for sub in submodules}
    return found - SHARED


def room_of(name):
    """The innermost."""
    return name if PATHS[name].name == "__init__.py" else name.rpartition(".")[0]


def around(room):
    """A room and those that it is in, without the package."""
    parts = room.split(".")
    return [".".join(parts[:n]) for n in range(2, len(parts) + 1)]


def within(name, room):
    return f"{name}.".startswith(f"{room}.")


def allowed(room):
    """The room itself, and those that its docstring names: that stand beside it, or in the package."""
    doc = ast.get_docstring(ast.parse(PATHS[room].read_text(encoding="utf-8")))
    said = re.search(r"^May import: (.+)\.$", doc, re.MULTILINE)
    assert said, f"the docstring of {room} does not say 'May import: …'"
    if said[1] == "nothing of the other rooms":
        return {room}
    if said[1] == "all rooms":
        return {"stamp"}
    beside = room.rpartition(".")[0]
    named = [f"{beside}.{word}" if f"{beside}.{word}" in ROOMS else f"stamp.{word}" for word in said[1].split(", ")]
    assert set(named) <= ROOMS, f"{room} names {sorted(set(named) - ROOMS)}, which are no rooms"
    return {room, *named}


def test_rooms_import_what_they_say():
    wrong = [
        f"{name} imports {other}, which {room} does not say"
        for name in PATHS
        for room in around(room_of(name))
        for other in sorted(imports_of(name))
        if not any(within(other, each) for each in allowed(room))
    ]
    assert not wrong


def test_what_rooms_say_has_no_circles():
    first = (
        "base",
        "data",
        "models",
        "catalog",
        "serving",
        "offline",
        "store",
        "cli",
        "offline.metrics",
        "offline.replays",
    )
    assert {f"stamp.{room}" for room in first} <= ROOMS
    assert allowed("stamp.base") == {"stamp.base"}
    graph = {room: allowed(room) - {room} for room in ROOMS}
    list(graphlib.TopologicalSorter(graph).static_order())  # a CycleError names them


def test_modules_import_each_other_in_no_circle():
    graph = {name: imports_of(name) - {name} for name in PATHS}
    list(graphlib.TopologicalSorter(graph).static_order())  # a CycleError names them


def test_modules_stand_in_rooms():
    for house in (PACKAGE, PACKAGE / "offline"):
        assert [path.name for path in house.glob("*.py")] == ["__init__.py"]
