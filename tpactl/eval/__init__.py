"""A data set and systems to a report: the same audio, the same rules for all of them."""
