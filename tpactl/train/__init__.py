"""The training room: a prepared data set and a base become a run folder."""
