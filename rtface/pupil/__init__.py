"""The pupil of every frame, after Facemap's definition and by its edge: pure arithmetic."""
