"""One file a model family; each wraps a diffusers pipeline as a Diffuser."""
