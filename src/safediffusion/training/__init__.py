"""Reinforcement learning of a Diffuser: advantages, GRPO, NFT, the loop, checkpoints and the alarm."""
