"""Sound in and out: decode any file, tell a truncated one, resample, write FLAC."""
