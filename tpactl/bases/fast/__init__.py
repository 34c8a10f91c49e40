"""Frozen blocks rewritten for training on top of them: what never changes is computed once."""
