"""The live page: what the tracker sees, in a browser; a process that only reads.

``source`` reads the rings, ``link`` hears the run's ports, ``hub`` hands both to viewers, and
``server`` is HTTP, WebSocket and who may do what (``access``). ``packet`` is what goes over the
WebSocket, byte for byte; ``page`` is the page.
"""
