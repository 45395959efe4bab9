# As shapes_faster_rcnn, deep and narrow: ResNet-101 of base width 8.
_base_ = ["shapes_faster_rcnn.py"]
model = dict(
    backbone=dict(depth=101, base_channels=8),
    neck=dict(in_channels=[32, 64, 128, 256]),
)
