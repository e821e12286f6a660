"""Other safety methods, written from their formulas, to stand beside this one on the same pictures."""
