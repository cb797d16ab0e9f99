"""A package imports only those before it, so that a reader can begin anywhere and read downwards."""

import ast
from pathlib import Path

LAYERS = ["data", "model", "stages", "evaluation", "fixtures"]
ROOT = Path(__file__).parents[1]


def imported_packages(path: Path) -> set[str]:
    """The packages of training/ that a module of one of them imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


def test_no_package_imports_one_above_it():
    for number, layer in enumerate(LAYERS):
        modules = list((ROOT / layer).glob("*.py"))
        assert len(modules) > 5, layer
        for path in modules:
            above = imported_packages(path) - set(LAYERS[:number])
            assert not above, f"{layer}/{path.name} imports {above}"
