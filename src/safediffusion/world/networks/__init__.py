"""Train World's networks from scratch: one file a network, one resumable stage each."""
