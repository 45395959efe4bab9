"""The sandbox: what code inside can reach, and how it is stopped."""

import os
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from icmbench.base.errors import UserError
from icmbench.submission import sandbox
from icmbench.submission.sandbox import Limits, Outcome

pytestmark = pytest.mark.timeout(120)
isolated = pytest.mark.skipif(bool(sandbox.why_not()), reason=sandbox.why_not())


def inside(scratch: Path, code: str, limits: Limits | None = None) -> Outcome:
    """Run Python code in the sandbox."""
    for name in ("in", "out"):
        (scratch / name).mkdir(exist_ok=True)
    return sandbox.run(["-c", code], scratch, limits or Limits(seconds=60), lambda files: None)


@isolated
def test_code_inside_reads_its_input_and_writes_its_output(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "word").write_text("hello")
    done = inside(tmp_path, "from pathlib import Path; Path('answer').write_text(Path('/scratch/in/word').read_text().upper())")
    assert done == Outcome(0, "", "")
    assert (tmp_path / "out" / "answer").read_text() == "HELLO"


@isolated
def test_nothing_outside_can_be_written(tmp_path: Path) -> None:
    here = Path(__file__).parents[1]
    outside = [tmp_path, here, here / "icmbench", Path(sys.prefix), Path.home(), Path("/"), Path("/usr"), Path("/dev")]
    code = f"""
import os
for folder in {[str(path) for path in [*outside, Path("/scratch"), Path("/scratch/in")]]}:
    try:
        with open(os.path.join(folder, "icmbench-was-here"), "w"):
            print(folder)
    except OSError:
        pass
"""
    own = inside(tmp_path, code).printed.split()
    assert all(path.startswith("/tmp") for path in own)  # where a checkout lies below /tmp, that is the sandbox's own /tmp
    assert not [path for path in outside if (path / "icmbench-was-here").exists()]


@isolated
def test_neither_secrets_nor_data_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    (tmp_path / "data").write_text("secret")
    tasks = Path(__file__).parents[1] / "tasks"
    code = (
        f"import os; print(os.environ.get('TOKEN'), os.path.exists({str(tmp_path / 'data')!r}), os.path.exists({str(tasks)!r}))"
    )
    assert inside(tmp_path, code).printed == "None False False"
    assert "No module named" in inside(tmp_path, "import icmbench.tasks").printed
    assert os.environ["TOKEN"] == "secret"


@isolated
def test_there_is_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = inside(tmp_path, f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)")
    assert done.status != 0
    assert "Error" in done.printed


@isolated
def test_other_processes_cannot_be_seen_and_none_stays(tmp_path: Path) -> None:
    code = """
import os, subprocess
print(sum(name.isdigit() for name in os.listdir('/proc')) < 5)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp('sleep', ['sleep', '98765'])
    os._exit(0)
"""
    assert inside(tmp_path, code).printed == "True"
    time.sleep(0.2)
    assert not [process for process in psutil.process_iter(["cmdline"]) if "98765" in (process.info["cmdline"] or [])]


@isolated
def test_it_has_no_rights_and_gains_none(tmp_path: Path) -> None:
    code = """
import ctypes
print([line.split()[1].strip('0') for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapPrm', 'CapBnd'))])
print(ctypes.CDLL(None).unshare(0x10000000))  # a user namespace of its own
for path in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger'):
    try:
        open(path, 'w').close()
        print(path)
    except OSError:
        pass
"""
    assert inside(tmp_path, code).printed == "['', '', '']\n-1"


LIMITS = {
    "it ran longer than 2 s": ("while True: open('x', 'a').write('x')", Limits(seconds=2)),
    "it gave no result for 2 s": ("import time; time.sleep(60)", Limits(idle_seconds=2)),
    "GiB of memory": ("x = []\nwhile True: x.append(bytearray(2**22))", Limits(memory=2**28)),
    "processes": ("import os, time\nwhile True:\n    os.fork()\n    time.sleep(0.05)", Limits(processes=16)),
    "MiB": (
        "import time\nfor n in range(10**6):\n    open(str(n), 'wb').write(bytes(2**20))\n    time.sleep(0.01)",
        Limits(output=2**24),
    ),
    "files": ("for n in range(10**9): open(str(n), 'w').close()", Limits(files=500)),
    "it printed too much": ("while True: print('x' * 10**6)", Limits()),
}


@isolated
@pytest.mark.parametrize("limit", LIMITS)
def test_limits_stop_it(tmp_path: Path, limit: str) -> None:
    code, limits = LIMITS[limit]
    done = inside(tmp_path, code, limits)
    assert limit in done.broken_limit


@isolated
def test_what_it_prints_is_text(tmp_path: Path) -> None:
    assert "\x1b" not in inside(tmp_path, r"print('\x1b[2J' + chr(0x202e) + 'hi')").printed


def test_without_bubblewrap_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox.why_not.cache_clear()
    try:
        with pytest.raises(UserError, match="bubblewrap is not installed"):
            inside(tmp_path, "print('hello')")
    finally:
        sandbox.why_not.cache_clear()
