"""A finished run for others: exported folders, adapters of other programs, the model card, the hub."""
