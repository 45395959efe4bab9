"""Fixtures shared by the tests."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ICMBENCH_DATA", REPOSITORY.parent / "shared"))

os.environ["ICMBENCH_DATA"] = str(DATA)
torch.set_num_threads(1)
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write the golden numbers anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of the real data where it is absent, saying so."""
    if not (DATA / "data").is_dir():
        skip = pytest.mark.skip(reason=f"no real data at {DATA}; set ICMBENCH_DATA")
        for item in items:
            if "data" in item.keywords:
                item.add_marker(skip)
