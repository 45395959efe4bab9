"""Cells on a real Ray cluster of two nodes on this machine."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from icmbench.cell import Place
from icmbench.cli import main
from icmbench.cluster import RayPool
from icmbench.errors import UserError
from icmbench.pace import Event
from icmbench.plan import plan
from icmbench.plugins import Plugins
from icmbench.record import Store
from icmbench.remote import Remote
from icmbench.runner import compute

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
VARYING = ("cost", "created", "content_sha256", "environment", "rows_sha256")  # times, and what they are hashed into


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head node that computes nothing, and two nodes with a core each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.nodes = [made.add_node(num_cpus=1), made.add_node(num_cpus=1)]
    yield made
    ray.shutdown()
    made.shutdown()


def computed(protocol: Path, folder: Path, **engine: Any) -> Iterator[Event]:
    """Compute task_loss under the protocol into a folder, or at its URL, to which each worker sends what it has computed."""
    plugins = Plugins()
    rules = plugins.protocol(str(protocol))
    place = Place(plugins, Remote(engine["url"]).folder if "url" in engine else folder / "results", folder / "runs", **engine)
    return compute(plan(plugins, rules, {"task_loss": {}}, range(len(rules.rates)), 1), place)


def results(folder: Path) -> list[dict[str, Any]]:
    """The fields of a folder's records that do not tell of time."""
    store = Store(folder / "results")
    assert not store.read()[1]
    found = [json.loads(path.read_text()) for path in store.files()]
    return [{name: value for name, value in fields.items() if name not in VARYING} for fields in found]


@pytest.fixture
def gpu() -> Iterator[str]:
    """The address of a node that says it has a GPU; to Ray that is a number."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 1, "include_dashboard": False})
    yield made.address
    ray.shutdown()
    made.shutdown()


def workers() -> list[psutil.Process]:
    """The processes of Ray that compute a cell now."""
    return [process for process in psutil.process_iter(["cmdline"]) if "ray::_on_node" in " ".join(process.info["cmdline"] or [])]


def test_a_sweep_survives_the_death_of_a_worker_and_of_a_node(
    cluster: Any, small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    ended: dict[int, str] = {}
    killed: list[str] = []
    there = {"url": f"file://{tmp_path}/cluster/results", "address": cluster.address}
    for event in computed(small_protocol, tmp_path / "cluster", engine="ray", **there):
        if event.phase in ("done", "failed"):
            ended[event.cell] = event.phase + event.message
        if event.phase == "train" and "worker" not in killed:
            os.kill(workers()[0].pid, signal.SIGKILL)
            killed.append("worker")
        elif event.phase == "evaluate" and "node" not in killed:
            cluster.remove_node(cluster.nodes[1], allow_graceful=False)
            killed.append("node")
    assert killed == ["worker", "node"]
    assert ended == dict.fromkeys(range(4), "done")
    list(computed(small_protocol, tmp_path / "here"))
    assert results(tmp_path / "cluster") == results(tmp_path / "here")


@pytest.mark.parametrize("pack", [1, 3])
def test_packed_cells_share_a_gpu(pack: int, gpu: str, tmp_path: Path) -> None:
    def most_at_once(number: int) -> int:
        """Of the calls, how many this one saw beside it at most in two seconds (in a function, so that Ray takes it along)."""
        (mark := tmp_path / f"{pack} {number}").touch()
        end, most = time.monotonic() + 2, 0
        while time.monotonic() < end:
            most = max(most, len(list(tmp_path.iterdir())))
            time.sleep(0.05)
        mark.unlink()
        return most

    pool = RayPool(Place(Plugins(), tmp_path, tmp_path, "cuda", engine="ray", address=gpu))
    try:
        pool.pack(pack)
        assert (pool.workers, pool.packed) == (pack, pack)
        assert max(future.result() for future in [pool.submit(most_at_once, number) for number in range(4)]) == pack
    finally:
        pool.close()


def test_a_cluster_without_a_gpu_computes_nothing_on_one(
    cluster: Any, small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "task_loss", "segmentation", "--protocol", str(small_protocol), "--engine", "ray", "--device", "cuda"]
    assert main([*words, "--address", cluster.address]) == 2
    assert f"the Ray cluster {cluster.address} has no GPU" in capsys.readouterr().err


def test_cells_are_not_packed_on_a_core(cluster: Any, small_protocol: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave --pack out"):
        next(computed(small_protocol, tmp_path, engine="ray", address=cluster.address, pack=2))
