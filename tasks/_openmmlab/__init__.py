"""What both tasks need of OpenMMLab: the stand-in for mmcv's compiled operators, configs, weights, preprocessing."""
