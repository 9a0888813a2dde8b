"""Many recorded videos through the same tracker: a session of each, by processes or a cluster."""
