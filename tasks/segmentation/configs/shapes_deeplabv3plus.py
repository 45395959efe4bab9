# DeepLabV3+, small enough for a CPU: ResNetV1c-18 of base width 16, output stride 8, depthwise ASPP head of 48 channels.
metainfo = dict(classes=("background", "stripes", "checker", "dots", "grain"))
norm = dict(type="BN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(128, 128),
    ),
    backbone=dict(
        type="ResNetV1c",
        depth=18,
        base_channels=16,
        stem_channels=16,
        out_indices=(0, 1, 2, 3),
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_cfg=norm,
        contract_dilation=True,
    ),
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        in_channels=128,
        in_index=3,
        channels=48,
        dilations=(1, 3, 6, 9),
        c1_in_channels=16,
        c1_channels=16,
        dropout_ratio=0.1,
        num_classes=5,
        norm_cfg=norm,
        align_corners=False,
        # Without a lighter background one class stays unlearned for half the training.
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0, class_weight=[0.4, 1.0, 1.0, 1.0, 1.0]),
    ),
    auxiliary_head=None,
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
