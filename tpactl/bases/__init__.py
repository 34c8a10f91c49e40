"""Load a base, find its Conformer blocks, tell its identity, recognise speech with it."""
