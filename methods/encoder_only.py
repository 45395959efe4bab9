"""Task-loss training of the encoder alone, for the start codec's unchanged decoder.

L = R + λ·E(y, y') as in `task_loss`, minimised over the parameters of g_a and, if there is one, of h_a. The decoder g_s and
the entropy model are exactly the start codec's.
"""

from collections.abc import Iterable

from torch import nn

from icmbench.methods._partial import PartialTraining, transforms


class EncoderOnly(PartialTraining):
    def trained(self) -> Iterable[nn.Parameter]:
        analysis = [module for name, module in self.codec.named_modules() if name.split(".")[-1] == "h_a"]
        return (parameter for part in (transforms(self.codec)[0], *analysis) for parameter in part.parameters())
