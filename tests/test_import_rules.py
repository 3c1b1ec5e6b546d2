"""Who may import whom (docs/architecture.md), read from the syntax trees. Layers leave no room for a cycle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A layer may import itself and those before it.
LATENCY = """measurement errors user_folders waiting host.pause_guard sessions phone adb leases host downloads
    runtime runner android phones pool loopback"""
MNAS = """errors signals files tensorboard kernels mindspore_setup machine data network checkpoints evaluation training
    reward ranks bundled_files experiment workers search audit report conversion retrain export phone validation
    full_training first_experiment space_latency scaling kept_files document_schemas cli __main__"""
LAYERS = ["mnas.hidden_packages", "mnas", "mnas.documents", "search_space", "controllers"]
LAYERS += [*(f"latency.{room}" for room in LATENCY.split()), "latency", *(f"mnas.{room}" for room in MNAS.split())]
LAYERS += ["tools", "experiments"]
# These know nothing of one another, and of mnas only the ground floor.
PACKAGES = ("search_space", "controllers", "latency")
GROUND_FLOOR = "mnas.documents"
# `Experiment.run` and `audit`, `Run.export`, `retrain_top` and `report` import what they start when they are called.
DOORS = {
    ("mnas.experiment", "mnas.search"),
    ("mnas.experiment", "mnas.audit"),
    ("mnas.search", "mnas.export"),
    ("mnas.search", "mnas.retrain"),
    ("mnas.search", "mnas.report"),
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer(module: str) -> str:
    return max((name for name in LAYERS if f"{module}.".startswith(f"{name}.")), key=len, default=module)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but those under `if TYPE_CHECKING:`."""
    yield node
    if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from executed(child)


def imports(path: Path) -> Iterator[str]:
    for node in executed(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if (ROOT / module.replace(".", "/")).with_suffix(".py").exists() else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def broken_rules(path: Path) -> list[str]:
    importer = layer(module_of(path))
    package = importer.partition(".")[0]
    broken = []
    for module in imports(path):
        imported = layer(module)
        if imported == "tests" or imported.startswith("tests."):
            broken.append(f"{importer} imports {module}")
        if imported not in LAYERS or (importer, imported) in DOORS:
            continue
        foreign = package in PACKAGES and not f"{imported}.".startswith((f"{package}.", f"{GROUND_FLOOR}."))
        if foreign or LAYERS.index(imported) > LAYERS.index(importer):
            broken.append(f"{importer} imports {module}")
    return broken


@pytest.mark.parametrize("folder", ["mnas", "search_space", "controllers", "latency", "tools", "experiments"])
def test_every_import_goes_to_a_layer_before(folder: str) -> None:
    assert [rule for path in sorted((ROOT / folder).rglob("*.py")) for rule in broken_rules(path)] == []


@pytest.mark.parametrize("folder", ["mnas", "latency"])
def test_every_room_is_a_layer(folder: str) -> None:
    rooms = {f"{folder}.{path.stem}" for path in (ROOT / folder).glob("*.py")}
    rooms |= {f"{folder}.{path.parent.name}" for path in (ROOT / folder).glob("*/__init__.py")}
    assert sorted(rooms - {f"{folder}.__init__"} - set(LAYERS)) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    paths = [path for folder in ("mnas", *PACKAGES) for path in sorted((ROOT / folder).rglob("*.py"))]
    # An __init__ lists what its package offers; the package's own modules import one another, not it.
    needs = {module_of(path): set(imports(path)) for path in paths if path.name != "__init__.py"}
    doors = (
        ("mnas.experiment", "mnas.search."),
        ("mnas.experiment", "mnas.audit."),
        ("mnas.search.run", "mnas.export."),
        ("mnas.search.run", "mnas.retrain."),
        ("mnas.search.run", "mnas.report."),
    )
    for module, door in doors:
        needs[module] = {name for name in needs[module] if not name.startswith(door)}
    TopologicalSorter(needs).prepare()
