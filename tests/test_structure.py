"""The structure of csm_core: small modules and classes, and folders that say what belongs in them."""

import ast
from pathlib import Path

import pytest

from csm_core.config import PROJECT_ROOT

CORE = PROJECT_ROOT / "csm_core"
MODULES = sorted(CORE.rglob("*.py"))
MAX_LINES = 400
MAX_METHODS = 20
MAX_ENTRIES = 32


def names(paths: list[Path]) -> set[str]:
    return {path.relative_to(CORE).as_posix() for path in paths}


def most_methods(path: Path) -> int:
    classes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    return max(
        (sum(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) for part in one.body) for one in classes),
        default=0,
    )


def test_no_module_is_too_long():
    long = [path for path in MODULES if path.read_text(encoding="utf-8").count("\n") > MAX_LINES]
    assert names(long) == set()


def test_no_class_has_too_many_methods():
    assert names([path for path in MODULES if most_methods(path) > MAX_METHODS]) == set()


def test_the_package_fits_one_screen():
    entries = [path for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    assert len(entries) <= MAX_ENTRIES


FOLDERS = sorted({path.parent for path in MODULES})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(CORE.parent).as_posix())
def test_every_folder_says_what_belongs_in_it(folder):
    module = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert len(ast.get_docstring(module) or "") > 80
