"""The house stands as drawn: arrows point down, heavy packages stay in their rooms."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "medseg"
MODULES = sorted(SOURCE.rglob("*.py"))

FLOORS = {
    "errors": 0, "types": 0, "files": 0, "progress": 0, "allocator": 0, "compiled": 0,
    "volume": 1, "metrics": 1, "specs": 1, "tensors": 1,
    "space": 2,
    "dataset": 3,
    "transforms": 4, "networks": 4, "losses": 4,
    "bundle": 5, "bundle_file": 5, "bundle_folder": 5, "bundle_weights": 5,
    "card": 5, "models": 5, "promoted": 5,
    "inference": 6, "weights": 6,
    "training": 7, "report": 7,
    "compression": 8, "continual": 8, "search": 8, "federated": 8,
    "service": 9, "cli": 9,
}  # fmt: skip

SAME_FLOOR = {("cli", "service"), ("files", "errors"), ("allocator", "errors"),
              ("bundle", "bundle_file"), ("bundle", "bundle_folder"),
              ("bundle", "bundle_weights"), ("bundle_weights", "bundle_file"),
              ("bundle_weights", "bundle_folder"),
              ("bundle_folder", "bundle_file"), ("bundle_folder", "promoted"),
              ("bundle", "card"), ("card", "bundle")}  # fmt: skip
NEVER = {("transforms", "volume"), ("networks", "dataset"), ("networks", "volume"),
         ("networks", "space"), ("losses", "dataset"), ("losses", "volume"), ("losses", "space"),
         ("service", "training")}  # fmt: skip
BELOW_BUNDLE = {"dataset.plan", "networks.build", "volume.labels", "specs", "networks"}

GATES = {
    "pydicom": ("volume/dicom", "service/"),
    "highdicom": ("volume/dicom", "service/"),
    "SimpleITK": ("volume/", "space/"),
    "monai": ("transforms/", "networks/", "losses.py"),
    "lightning_fabric": ("training/", "compression/", "federated/"),
    "lightning": ("training/", "compression/", "federated/"),
    "onnx": ("compression/", "inference/onnx_engine.py"),
    "onnxscript": ("compression/",),
    "onnxruntime": ("compression/", "inference/onnx_engine.py"),
    "openvino": ("compression/", "inference/openvino_engine.py"),
    "tensorrt": ("inference/tensorrt_engine.py",),
    "dvc": ("continual/versions.py",),
    "dvc_data": ("continual/versions.py",),
    "dulwich": ("continual/history.py",),
    "flwr": ("federated/",),
    "ray": ("inference/batch.py", "search.py"),
    "fastapi": ("service/",),
    "dbos": ("service/",),
    "sqlalchemy": ("service/",),
    "pynetdicom": ("service/",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "nibabel": ("compression/standalone.py",),
    "av": ("volume/video.py",),
    "matplotlib": ("report/",),
    "plotly": ("report/",),
    "skimage": ("metrics/", "report/", "volume/dicom_contours.py"),
    "fast_simplification": ("report/",),
}
TORCH_FLOOR = 4


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, and whether only a type checker sees it."""
    hidden: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            hidden.update(inner for child in node.body for inner in ast.walk(child))
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in hidden) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node in hidden


def arrow_fault(source: str, module: str) -> str | None:
    """Why a file of room `source` must not import `medseg.<module>`, or None."""
    target = module.split(".")[0]
    if target == source or target not in FLOORS:
        return None
    if (source, target) in SAME_FLOOR:
        return None
    if (source, target) in NEVER or FLOORS[source] <= FLOORS[target]:
        return f"{source} (floor {FLOORS[source]}) -> {module} (floor {FLOORS[target]})"
    if source == "bundle" and FLOORS[target] > 0:
        allowed = any(module == name or module.startswith(name + ".") for name in BELOW_BUNDLE)
        return None if allowed else f"bundle -> {module}"
    return None


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__", "__main__"}
    assert rooms <= set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_arrows_point_down(path: Path) -> None:
    room = room_of(path)
    if room in {"__init__", "__main__"}:
        return
    ours = [
        name.removeprefix("medseg.") for name, _ in imports_of(path) if name.startswith("medseg.")
    ]
    assert [fault for name in ours if (fault := arrow_fault(room, name))] == []


REPORT_FLOORS = {"scores": 0, "plots": 1, "html": 2, "scene": 3, "pages": 4}


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room_of(p) == "report"], ids=lambda path: path.name
)
def test_arrows_point_down_inside_report(path: Path) -> None:
    here = REPORT_FLOORS.get(path.relative_to(SOURCE / "report").parts[0].removesuffix(".py"), -1)
    rooms = [
        name.split(".")[2] for name, _ in imports_of(path) if name.startswith("medseg.report.")
    ]
    assert [room for room in rooms if REPORT_FLOORS[room] > here] == []


def test_the_arrow_test_can_fail() -> None:
    assert arrow_fault("volume", "dataset.plan.Plan")
    assert arrow_fault("training", "report.page.write")
    assert arrow_fault("networks", "dataset.plan.Plan")
    assert arrow_fault("bundle", "dataset.store.Store")
    assert arrow_fault("bundle", "dataset.plan.Plan") is None
    assert arrow_fault("inference", "bundle.Bundle") is None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_heavy_packages_stay_in_their_rooms(path: Path) -> None:
    place = path.relative_to(SOURCE).as_posix()
    for name, for_types in imports_of(path):
        package = name.split(".")[0]
        homes = GATES.get(package)
        assert for_types or homes is None or place.startswith(homes), f"{place} imports {package}"
        if package == "torch" and not for_types:
            room = room_of(path)
            assert room == "tensors" or FLOORS[room] >= TORCH_FLOOR, f"{place} imports torch"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_doors_print_or_read_the_environment(path: Path) -> None:
    if room_of(path) in {"cli", "service"}:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{path}:{node.lineno} prints"
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"environ", "getenv", "putenv"}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    most = 500 if path.name == "errors.py" else 420  # the tree of errors is drawn in one place
    assert len(text.splitlines()) <= most, "one idea a file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 80, f"{node.name} has {length} lines"


def test_the_architecture_page_names_every_file() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"^\| `([\w/]+\.py)` \|", page, flags=re.MULTILINE))
    there = {p.relative_to(SOURCE).as_posix() for p in MODULES if p.name != "__init__.py"}
    assert named == there
