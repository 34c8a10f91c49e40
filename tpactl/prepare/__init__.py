"""A department's folder of recordings to a data set."""
