"""How much better an image is than the others of its own group (Shao et al., 2024)."""

from torch import Tensor

# Below this spread a group's rewards differ by float rounding only and carry no preference.
EQUAL = 1e-6


def group_advantages(rewards: Tensor, clip: float, epsilon: float = 1e-4) -> Tensor:
    """Rewards centred and scaled inside their group, cut to +-clip.

    Args:
        rewards: (groups, members) float32.
        clip: largest absolute advantage.
        epsilon: added to the deviation, so that a nearly even group is not blown up.

    Returns:
        (groups, members); exactly 0 in a group of (nearly) equal rewards.
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    spread = rewards.std(1, keepdim=True)
    advantages = (centred / (spread + epsilon)).clamp(-clip, clip)
    return advantages.masked_fill(spread < EQUAL, 0.0)


def zero_std_ratio(rewards: Tensor) -> float:
    """Share of groups whose rewards are (nearly) equal, from rewards (groups, members)."""
    return (rewards.std(1) < EQUAL).float().mean().item()
