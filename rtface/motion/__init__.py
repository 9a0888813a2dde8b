"""Facemap's motion and movie components, frame by frame: pure functions and their files."""
