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
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


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
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def allowed(room):
    doc = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
    said = re.search(r"^May import: (.+)\.$", doc, re.MULTILINE)
    assert said, f"the docstring of stamp.{room} does not say 'May import: …'"
    if said[1] == "nothing of the other rooms":
        return {room}
    return {*ROOMS, ""} if said[1] == "all rooms" else {room, *said[1].split(", ")}


def test_rooms_import_what_they_say():
    wrong = [
        f"{name} imports {other}"
        for name in PATHS
        if name != "stamp"
        for other in sorted(imports_of(name))
        if room_of(other) not in allowed(room_of(name))
    ]
    assert not wrong


def test_what_rooms_say_has_no_circles():
    assert set(ROOMS) >= {"base", "data", "models", "catalog", "serving", "offline", "cli"}
    order = graphlib.TopologicalSorter({room: allowed(room) - {room, ""} for room in ROOMS if room != "cli"})
    assert list(order.static_order())[0] == "base"


def test_modules_import_each_other_in_no_circle():
    """Those of cli excepted, which open with the package, as users do, and of offline."""
    graph = {name: imports_of(name) - {name} for name in PATHS if room_of(name) not in ("", "cli", "offline")}
    list(graphlib.TopologicalSorter(graph).static_order())  # a CycleError names them


def test_modules_stand_in_rooms():
    assert sorted(path.name for path in PACKAGE.glob("*.py")) == ["__init__.py"]
