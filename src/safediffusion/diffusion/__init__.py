"""A diffusers pipeline as a reinforcement-learning policy: encode, predict, sample, decode.

Knows nothing of rewards, groups or optimizers.
"""
