"""The rules of placement, as values: knows no SDK, no clock, no socket, no logger."""
