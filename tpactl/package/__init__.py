"""From a run to one verifiable file: build, read and verify ``.tpa`` packages."""
