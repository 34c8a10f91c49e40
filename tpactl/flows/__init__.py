"""Work that chains rooms."""
