"""Several cells at once on one device."""

import time
from contextlib import closing
from pathlib import Path

import pytest
from cells import CPU, bound, work
from killing import records

from icmbench.cli.main import main
from icmbench.experiment.folders import Device
from icmbench.extras.inline import InlinePool
from icmbench.plugins.find import Plugins
from icmbench.running.runner import plan
from icmbench.running.workers import LocalPool, cells_that_fit, compute
from icmbench.schema.store import Store

GIB = 2**30


def meet(folder: Path, others: int, number: int) -> bool:
    """Whether so many are here at once."""
    (folder / str(number)).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < others and time.monotonic() < end:
        time.sleep(0.05)
    return len(list(folder.iterdir())) >= others


@pytest.mark.slow
def test_a_gpu_gets_one_cell_until_it_is_known_how_many_it_bears(tmp_path: Path) -> None:
    with closing(LocalPool(Device("cuda"), None, 5)) as pool:
        assert (pool.workers, pool.share.packed) == (1, 1)
        pool.pack(3)
        assert (pool.workers, pool.share.packed) == (3, 3)
        assert all(future.result() for future in [pool.submit(meet, tmp_path, 3, number) for number in range(3)])
        pool.pack(8)
        assert pool.workers == 5  # there are no more cells


@pytest.mark.parametrize(
    ("needed", "free", "cores", "expected"),
    [
        (8 * GIB, 78 * GIB, 16, 8),  # 8.1 by memory
        (8 * GIB, 78 * GIB, 8, 4),
        (20 * GIB, 78 * GIB, 16, 3),
        (70 * GIB, 78 * GIB, 16, 1),
        (90 * GIB, 78 * GIB, 16, 1),  # then one is tried, whose batches are split
        (GIB, 78 * GIB, 1, 1),
    ],
)
def test_how_many_cells_a_gpu_bears(needed: int, free: int, cores: int, expected: int) -> None:
    assert cells_that_fit(needed, free, cores) == expected


@pytest.mark.slow
def test_cells_that_share_a_device_come_out_as_one_after_the_other_in_this_process(small_protocol: Path, tmp_path: Path) -> None:
    cells = plan(Plugins(), bound(small_protocol), {"task_loss": {}}, [0, 1], 1)
    for pool in (InlinePool(CPU), LocalPool(CPU, 2, len(cells))):
        folder, workers = tmp_path / f"{pool.workers}", pool.workers
        ended = {event.cell: event.phase for event in compute(cells, work(folder), pool)}
        assert ended == {0: "done", 1: "done"}
        assert [record.cost.packed for record in Store(folder / "results").read()[0]] == [workers] * 2
    assert records(tmp_path / "1" / "results") == records(tmp_path / "2" / "results")


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_what_is_no_number_of_cells_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "task_loss", "segmentation", "--pack", text])
    assert "argument --pack: must be auto or a number of at least 1" in capsys.readouterr().err


def test_cells_are_packed_or_spread(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "task_loss", "segmentation", "--device", "cpu", "--pack", "2", "--devices", "2"]) == 2
    assert "--pack puts several cells on one device, --devices one cell on several" in capsys.readouterr().err
