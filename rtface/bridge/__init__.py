"""Bridges: a subscriber like any other that hands every message on in another form."""
