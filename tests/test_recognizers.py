"""The frozen recognisers: real weights reproduce their known accuracy, any toolbox config runs."""

import sys
from pathlib import Path

import pytest
import torch
from mmseg.datasets import ADE20KDataset

from icmbench.api.classes import make_task
from icmbench.api.task import Task
from icmbench.base.errors import UserError
from icmbench.experiment.evaluate import evaluate_uncompressed
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import Weights
from icmbench.tasks._data.coco import Boxes
from icmbench.tasks._openmmlab import compiled_ops, models


def task_of(protocol: str) -> Task:
    rules = Plugins().protocol(protocol)
    return make_task(Plugins(), rules.task, rules.data, rules.recognizer)


@pytest.mark.slow
@pytest.mark.data
def test_nanodet_reproduces_its_ap_on_uncompressed_photographs() -> None:
    scores = evaluate_uncompressed(task_of("coco128-nanodet-v1"))
    assert scores["AP"] == pytest.approx(29.7, abs=0.3)
    assert scores["AP50"] == pytest.approx(44.0, abs=0.6)


@pytest.mark.slow
@pytest.mark.data
def test_camvid_network_reproduces_its_miou_on_uncompressed_photographs() -> None:
    scores = evaluate_uncompressed(task_of("camvid-deeplabv3plus-v1"))
    assert scores["mIoU"] == pytest.approx(65.8, abs=0.1)
    assert scores["aAcc"] == pytest.approx(91.7, abs=0.1)


def stock(task: str, data: dict[str, object], config: str) -> Task:
    return make_task(Plugins(), task, data, {"config": config})


@pytest.mark.slow
def test_stock_faster_rcnn_runs_forward_backward_and_predicts() -> None:
    task = stock("detection", {"source": "shapes"}, "mmdet:faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py")
    images = torch.rand(1, 3, 64, 96, requires_grad=True)
    target = Boxes(torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([3]), (64, 96), 1)
    torch.autograd.backward(task.loss(images, [target]))
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    boxes, scores, labels = task.predict(torch.zeros(3, 61, 83, dtype=torch.uint8), None)  # type: ignore[arg-type]
    assert boxes.shape == (len(scores), 4)
    assert labels.shape == scores.shape


@pytest.mark.slow
def test_stock_deeplabv3plus_runs_forward_backward_and_predicts() -> None:
    rules = Plugins().protocol("pascalcontext59-deeplabv3plus-v1")
    config = "mmseg:deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_pascal-context-59-480x480.py"
    task = stock("segmentation", rules.data, config)
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    torch.autograd.backward(task.loss(images, [torch.randint(0, 59, (64, 64))]))
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    mask = task.predict(torch.zeros(3, 61, 83, dtype=torch.uint8), None)  # type: ignore[arg-type]
    assert mask.shape == (61, 83)


@pytest.mark.parametrize("config", ["fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py"])
def test_a_detector_without_a_known_light_version_is_refused_in_one_sentence(config: str) -> None:
    with pytest.raises(UserError, match="there is no branch for a"):
        stock("detection", {"source": "shapes"}, f"mmdet:{config}").light_head(64, 16)


def test_a_segmenter_that_reads_several_maps_has_no_light_version() -> None:
    classes = {"source": "shapes", "classes": ADE20KDataset.METAINFO["classes"]}
    task = stock("segmentation", classes, "mmseg:segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py")
    with pytest.raises(UserError, match="must read one feature map"):
        task.light_head(64, 16)


def test_a_missing_compiled_operator_says_so_when_it_is_called() -> None:
    operators = compiled_ops._Operators("mmcv._ext")
    with pytest.raises(UserError, match="deform_conv_forward"):
        operators.deform_conv_forward(1, 2)


def test_the_nms_stand_in_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    kept = compiled_ops._nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5, 0)
    assert kept.tolist() == [1, 2]


def test_a_real_operator_module_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(sys)("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", real)
    compiled_ops.install()
    assert sys.modules["mmcv._ext"] is real


def test_missing_and_broken_configs_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        models.read_config("mmdet:faster_rcnn/no_such_config.py")
    broken = tmp_path / "broken.py"
    broken.write_text("model = dict(type=")
    with pytest.raises(UserError, match="cannot be read"):
        models.read_config(str(broken))


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(b"not weights")
    digest = "c5bfb2a0"
    with pytest.raises(UserError, match="SHA-256"):
        models.load_checkpoint(torch.nn.Linear(1, 1), Weights(path=str(path), sha256=digest))
