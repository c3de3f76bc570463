"""The layout of the package: no two modules, classes or public functions have one name."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "dsb2018"


def test_names_are_unique():
    places = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            places[f"module {path.stem}"].append(path)
        for node in ast.parse(path.read_text()).body:
            is_definition = isinstance(node, (ast.FunctionDef, ast.ClassDef))
            if is_definition and not node.name.startswith("_"):
                places[node.name].append(path)
    del places["main"]  # entry points
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def test_only_modeling_knows_dense_models():
    for path in PACKAGE.rglob("*.py"):
        if "modeling" not in path.parts:
            assert "DenseModel" not in path.read_text(), path
