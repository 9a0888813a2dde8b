"""Recorded sessions as the files of other programs."""
