"""NFT: contrast with an old copy that follows the policy slowly."""

from torch import Tensor

from safediffusion.training.forward_update import ForwardProcess, Noised
from safediffusion.training.nft import nft_loss, old_decay, preference
from safediffusion.training.updates import RoundLog


class Nft(ForwardProcess):
    """Contrast on the forward process: needs no density (Zheng et al., 2025)."""

    def loss(self, rows: Noised, advantages: Tensor, log: RoundLog) -> tuple[Tensor, Tensor]:
        """See `nft_loss`."""
        r = preference(advantages, self.config.train.adv_clip)
        old, predicted = self.predict_old(rows), self.predict(rows)
        return nft_loss(predicted, old, rows.target, r, rows.weight), predicted

    def after(self, step: int) -> None:
        """The old copy follows."""
        train = self.config.train
        self.learner.follow(old_decay(step, train.old_decay_step, train.old_decay_max))
