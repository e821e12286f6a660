"""Reinforcement learning of a Diffuser: advantages, algorithms, the loop, checkpoints and the alarm."""
