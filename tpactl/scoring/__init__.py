"""Text to numbers: normalisers, error counts, intervals. No model, no audio, no torch."""
