"""Cells on a real Ray cluster of two nodes on this machine, which all tests share in this order."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cells import CPU, bound
from killing import records

from icmbench.cli.main import main
from icmbench.experiment.compute import ComputeCell
from icmbench.experiment.folders import Device, Folders
from icmbench.extras.inline import InlinePool
from icmbench.extras.ray import RayPool
from icmbench.extras.remote import open_store
from icmbench.plugins.find import Plugins
from icmbench.running.progress import Event
from icmbench.running.runner import plan
from icmbench.running.workers import Pool, compute

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """A head node that computes nothing, and two nodes with a core each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, "num_cpus": 0})
    made.nodes = [made.add_node(num_cpus=1), made.add_node(num_cpus=1)]
    yield made
    made.shutdown()


@pytest.fixture
def cluster(started: Any) -> Iterator[Any]:
    """The cluster, which this process leaves in the end."""
    yield started
    ray.shutdown()


def computed(protocol: Path, folder: Path, pool: Pool, results: str = "") -> Iterator[Event]:
    """Compute task_loss under the protocol into a folder, or at a URL, to which each worker sends what it has computed."""
    plugins, rules = Plugins(), bound(protocol)
    work = ComputeCell(plugins, Folders(open_store(results or f"{folder}/results"), folder / "runs"), CPU)
    return compute(plan(plugins, rules, {"task_loss": {}}, range(2), 1), work, pool)


def workers() -> list[psutil.Process]:
    """The processes of Ray that compute a cell now."""
    return [process for process in psutil.process_iter(["cmdline"]) if "ray::_on_node" in " ".join(process.info["cmdline"] or [])]


def test_what_a_cluster_without_gpus_cannot_do_is_one_sentence(
    cluster: Any, small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "task_loss", "segmentation", "--protocol", str(small_protocol), "--engine", "ray"]
    words += ["--address", cluster.address]
    assert main([*words, "--device", "cuda"]) == 2
    assert f"the Ray cluster {cluster.address} has no GPU" in capsys.readouterr().err
    assert main([*words, "--device", "cpu", "--pack", "2"]) == 2
    assert "omit --pack" in capsys.readouterr().err


def test_a_sweep_survives_the_death_of_a_worker_and_of_a_node(
    cluster: Any, small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    ended: dict[int, str] = {}
    killed: list[str] = []
    pool, url = RayPool(CPU, None, cluster.address), f"file://{tmp_path}/cluster/results"
    for event in computed(small_protocol, tmp_path / "cluster", pool, url):
        if event.phase in ("done", "failed"):
            ended[event.cell] = event.phase + event.message
        if event.phase == "train" and "worker" not in killed:
            os.kill(workers()[0].pid, signal.SIGKILL)
            killed.append("worker")
        elif event.phase == "evaluate" and "node" not in killed:
            cluster.remove_node(cluster.nodes[1], allow_graceful=False)
            killed.append("node")
    assert killed == ["worker", "node"]
    assert ended == dict.fromkeys(range(2), "done")
    list(computed(small_protocol, tmp_path / "here", InlinePool(CPU)))
    assert records(tmp_path / "cluster" / "results") == records(tmp_path / "here" / "results")


def test_packed_cells_share_a_gpu(cluster: Any, tmp_path: Path) -> None:
    here, leave = tmp_path / "here", tmp_path / "leave"
    here.mkdir()

    def stay(number: int) -> None:
        """Leave a mark and wait to be let go (in a function, so that Ray takes it along)."""
        (here / str(number)).touch()
        while not leave.exists():
            time.sleep(0.05)

    cluster.add_node(num_cpus=4, num_gpus=1)  # to Ray a GPU is a number
    pool = RayPool(Device("cuda"), None, cluster.address)
    for pack in (1, 3):
        pool.pack(pack)
        assert (pool.workers, pool.share.packed) == (pack, pack)
        stays = [pool.submit(stay, number) for number in range(4)]
        ended = time.monotonic() + 120
        while len(list(here.iterdir())) < pack and time.monotonic() < ended:
            time.sleep(0.05)
        time.sleep(1)  # for those that should not come
        assert len(list(here.iterdir())) == pack
        leave.touch()
        for each in stays:
            each.result()
        leave.unlink()
        for mark in here.iterdir():
            mark.unlink()
    pool.close()
