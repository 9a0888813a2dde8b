"""Training of networks; needs the extra ``train``. Only this package computes with torch."""
