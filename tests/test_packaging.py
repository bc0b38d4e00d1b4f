"""What the wheel holds, what the command loads, and which way imports run."""

import ast
import importlib.metadata
import importlib.resources
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCES = ("strategies", "fedprivacy", "fedtasks", "fedlink", "fedclient", "fedserver", "simulations", "conf")
MODULES = sorted(path.relative_to(ROOT) for source in SOURCES for path in (ROOT / source).rglob("*.py"))

# What each folder may import of hansa besides itself. conf, the edge, may import everything.
BELOW = {
    "strategies": set(),
    "fedprivacy": {"strategies"},
    "fedtasks": {"strategies"},
    "fedlink": {"strategies"},
    "fedclient": {"strategies", "fedprivacy", "fedtasks", "fedlink"},
    "fedserver": {"strategies", "fedprivacy", "fedtasks", "fedlink"},
    "simulations": {"strategies", "fedprivacy", "fedtasks", "fedlink", "fedclient", "fedserver"},
}
# The algebra has no Flower, no torch, no I/O, no clock and no entropy.
IMPURE = (
    "flwr torch ray grpc hydra omegaconf os io pathlib shutil tempfile glob socket subprocess asyncio threading "
    "multiprocessing time datetime random secrets uuid logging requests"
)
IMPURE_CALLS = {"open", "print", "input", "breakpoint", "__import__"}
# The command answers --help within half a second only if none of these is loaded.
HEAVY = {"torch", "flwr", "hydra", "omegaconf", "ray", "grpc", "sklearn", "scipy"}


def our_files() -> list[Path]:
    """The files under version control, and those that are about to be, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("the list of files comes from git: run this test in a clone")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built by way of the source archive from a copy of our files, so that nothing is left in the tree."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("out")
    for path in our_files():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        yield archive


def dist_info(wheel: zipfile.ZipFile, name: str) -> str:
    return wheel.read(next(n for n in wheel.namelist() if n.endswith(f".dist-info/{name}"))).decode()


def test_wheel_holds_one_import_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hansa"}
    assert "hansa/__init__.py" not in wheel.namelist(), "hansa is a namespace package"


def test_wheel_holds_exactly_the_files_of_the_source_folders(wheel: zipfile.ZipFile) -> None:
    """A missing module lacks an `__init__.py` in its folder; a missing data file a pattern in pyproject.toml."""
    shipped = {name.removeprefix("hansa/") for name in wheel.namelist() if name.startswith("hansa/")}
    assert shipped == {path.as_posix() for path in our_files() if path.parts[0] in SOURCES}


def test_wheel_holds_no_tests(wheel: zipfile.ZipFile) -> None:
    assert not [n for n in wheel.namelist() if re.search(r"(^|/)(tests?|benchmarks|examples|docs)/|test_\w+\.py$", n)]


def test_wheel_names_its_command_licence_and_dependencies(wheel: zipfile.ZipFile) -> None:
    entry_points = dist_info(wheel, "entry_points.txt")
    assert "hansa = hansa.conf.main:main" in entry_points
    assert "hansa.strategies" not in entry_points, "the group is for other people's packages"
    assert "Apache License" in dist_info(wheel, "licenses/LICENSE")
    assert "Requires-Dist: flwr<1.42,>=1.41" in dist_info(wheel, "METADATA")


def test_every_source_folder_is_typed() -> None:
    assert not [s for s in SOURCES if (ROOT / s).is_dir() and not (ROOT / s / "py.typed").is_file()]


def test_every_folder_of_modules_or_configuration_is_a_package() -> None:
    folders = {path.parent for path in our_files() if path.parts[0] in SOURCES and path.suffix in {".py", ".yaml"}}
    assert not [str(folder) for folder in sorted(folders) if not (ROOT / folder / "__init__.py").is_file()]


def test_configuration_is_found_through_the_installed_package() -> None:
    ours = {path.name for path in our_files() if path.parts[0] == "conf" and len(path.parts) == 2}
    assert ours <= {path.name for path in importlib.resources.files("hansa.conf").iterdir()}


def closure(name: str, extras: tuple[str, ...]) -> set[str]:
    """The requirements of a distribution here, to the end of the chain, less those of torch, which vary by machine."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    todo = {(name, extras)}
    while todo:
        name, extras = todo.pop()
        seen.add((name, extras))
        for requirement in map(Requirement, (name != "torch" and importlib.metadata.requires(name)) or ()):
            if not requirement.marker or any(requirement.marker.evaluate({"extra": e}) for e in ("", *extras)):
                todo |= {(canonicalize_name(requirement.name), tuple(sorted(requirement.extras)))} - seen
    return {name for name, _ in seen} - {"hansa"}


def pins() -> dict[str, str]:
    """The version of each distribution that constraints.txt names."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_dependency_is_pinned_to_the_installed_version() -> None:
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in closure("hansa", ("dev", "images"))}
    assert installed == {name: pins().get(name) for name in installed}
    assert pins()["torch"] == "2.13.0"


def test_pins_satisfy_the_projects_own_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, listed):
        if requirement.name != "hansa":
            assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['hansa', '--help']; from hansa.conf.main import main; main()"
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "simulate" in done.stdout
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "hansa" in loaded
    assert not loaded & HEAVY


ENTRIES = ("fedserver.app", "fedclient.app", "fedclient.worker")
"""Where Flower begins, and the process that works on a device: at the edge, as the command is."""


def imports(path: Path) -> set[str]:
    """The full names that a module imports anywhere, relative ones resolved; `from a import b` counts as `a.b`."""
    package = ["hansa", *path.parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_run_downwards(path: Path) -> None:
    names = imports(path)
    assert not {n for n in names if n.split(".")[0] in SOURCES}, "the folders are imported as hansa.<folder>"
    ends = ("hansa.conf.main.", *(f"hansa.{end}." for end in ENTRIES))
    assert not {n for n in names if f"{n}.".startswith(ends)}, "nothing imports a command or an entry point"
    if path.parts[0] in BELOW:
        edge = {"conf"} if ".".join(path.with_suffix("").parts) in ENTRIES else set()
        allowed = {path.parts[0], *BELOW[path.parts[0]], *edge}
        assert not {n for n in names if n.split(".")[0] == "hansa" and n.split(".")[1] not in allowed}


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] == "strategies"], ids=str)
def test_the_algebra_is_pure(path: Path) -> None:
    assert not {n for n in imports(path) if n.split(".")[0] in IMPURE.split()}
    calls = [n.func for n in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(n, ast.Call)]
    assert not {f.id for f in calls if isinstance(f, ast.Name)} & IMPURE_CALLS
