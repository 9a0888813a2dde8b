"""Receive rtface's stream as a client written for Pupil Core's network API does.

Nothing of rtface is imported: the port is asked for with ``SUB_PORT``, and messages are a topic, a
msgpack map and raw frames. A client of yours needs another address and topic, no more::

    python pupil_style.py --port 5580 --topic pose.
"""

import argparse
import struct

import msgpack
import zmq


def subscribe(context, host, port, topic):
    """Ask Pupil Remote's port where data are, and return a socket that receives ``topic``."""
    remote = context.socket(zmq.REQ)
    remote.setsockopt(zmq.LINGER, 0)
    remote.connect(f"tcp://{host}:{port}")
    remote.send_string("SUB_PORT")
    if not remote.poll(5000):
        raise SystemExit(f"no answer from port {port}; is rtface running?")
    sub_port = remote.recv_string()
    remote.close()
    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt(zmq.LINGER, 0)
    subscriber.connect(f"tcp://{host}:{sub_port}")
    subscriber.subscribe(topic)
    return subscriber


def receive(subscriber):
    """Return the topic and the map of the next message, raw frames under ``__raw_data__``."""
    topic = subscriber.recv_string()
    payload = msgpack.unpackb(subscriber.recv())
    frames = []
    while subscriber.get(zmq.RCVMORE):
        frames.append(subscriber.recv())
    if frames:
        payload["__raw_data__"] = frames
    return topic, payload


def main():
    """Print topic, timestamp and the first point of each message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5580, help="rtface's control port")
    parser.add_argument("--topic", default="pose.")
    parser.add_argument("--count", type=int, default=-1, help="end after so many messages")
    options = parser.parse_args()
    with zmq.Context() as context:
        subscriber = subscribe(context, options.host, options.port, options.topic)
        left = options.count
        while left:
            left -= 1
            topic, payload = receive(subscriber)
            x, y, score = struct.unpack_from("<3f", payload["__raw_data__"][0])
            print(f"{topic} {payload['timestamp']!r} {x!r} {y!r} {score!r}", flush=True)
        subscriber.close()


if __name__ == "__main__":
    main()
