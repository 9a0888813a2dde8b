"""Acceptance of a rig with its hands on it: what a rule that may harm has to have passed."""
