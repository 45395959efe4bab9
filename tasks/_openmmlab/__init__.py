"""OpenMMLab for both tasks: the stand-in for mmcv's compiled operators, configs, weights, preprocessing."""
