# NanoDet-g, 80 COCO classes. Assignment for the training loss: ATSS, as upstream.
val_dataloader = dict(dataset=dict(type="CocoDataset"))  # whose names are the classes
model = dict(
    type="NanoDet",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False,
        pad_size_divisor=32,
    ),
    backbone=dict(type="NanoDetBackbone"),
    neck=dict(type="NanoDetNeck"),
    bbox_head=dict(
        type="NanoDetHead",
        num_classes=80,
        in_channels=128,
        reg_max=10,
        anchor_generator=dict(
            type="AnchorGenerator",
            ratios=[1.0],
            octave_base_scale=5,
            scales_per_octave=1,
            strides=[8, 16, 32],
            centers=[(3.5, 3.5), (7.5, 7.5), (15.5, 15.5)],
        ),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        init_cfg=dict(type="Normal", layer="Conv2d", std=0.01),
    ),
    train_cfg=dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(nms_pre=1000, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.6), max_per_img=100),
)
