"""From a face to neurons: models of neural activity by what a camera sees, fitted and then live."""
