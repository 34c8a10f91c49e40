"""The typed records that travel between rooms, their schema versions, and how they are stored."""
