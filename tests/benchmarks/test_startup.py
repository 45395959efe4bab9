"""How fast the commands that need no torch come back, as a ratio to starting Python alone."""

import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize("words", ["-c pass", "-m icmbench --help", "-m icmbench list", "-m icmbench show shapes-detection-v3"])
def test_startup(benchmark: BenchmarkFixture, words: str) -> None:
    benchmark.pedantic(subprocess.run, ([sys.executable, *words.split()],), {"check": True, "capture_output": True}, rounds=9)
