"""Task-loss training of the decoder g_s alone: the start codec's bitstreams, decoded for machines.

L = R + λ·E(y, y') as in `task_loss`, minimised over the parameters of g_s. R and the bitstreams are exactly the start codec's, so
the rate points differ only by their start codecs, and λ hardly matters.
"""

from collections.abc import Iterable

from torch import nn

from icmbench.methods._partial import PartialTraining, transforms


class DecoderOnly(PartialTraining):
    def trained(self) -> Iterable[nn.Parameter]:
        return transforms(self.codec)[1].parameters()
