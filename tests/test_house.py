"""The tools that `scripts/test` runs see the whole product: what is planted in a copy of it is found."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("icmbench", "methods", "tasks", "leaderboard")
pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The product without its weights, and what mypy remembers of it."""
    for name in (*FOLDERS, ".mypy_cache"):
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("weights", "__pycache__")
            shutil.copytree(REPOSITORY / name, tmp_path / name, symlinks=True, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def said_by(tool: str, folder: Path) -> str:
    """What a tool prints in a folder where something is wrong."""
    command = [str(Path(sys.executable).with_name(tool))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "."}, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_a_wrong_type_is_found_in_every_folder(copy: Path) -> None:
    for name in FOLDERS:
        (copy / name / "planted.py").write_text('x: int = "a"\n')
    printed = said_by("mypy", copy)
    for name in ("icmbench", *(f"icmbench/{linked}" for linked in FOLDERS[1:])):
        assert f'{name}/planted.py:1: error: Incompatible types in assignment (expression has type "str", variable' in printed


@pytest.mark.parametrize(
    ("where", "text", "contract"),
    [
        ("stats", "import icmbench.schema.store", "Each package imports only what lies below it"),
        ("running", "import icmbench.extras.status", "The core imports no extra"),
        ("methods", "import icmbench.running.runner", "nothing of icmbench but its api"),
        ("show", "import torch", "No torch where results are judged and shown"),
    ],
)
def test_an_import_against_the_rules_is_found(copy: Path, where: str, text: str, contract: str) -> None:
    (copy / "icmbench" / where / "planted.py").write_text(text + "\n")
    broken = said_by("lint-imports", copy).partition("Broken contracts")[2]
    assert contract in broken
