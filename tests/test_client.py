"""Publisher and subscriber over real sockets, in one process so that time can be chosen."""

import threading
import time
from collections.abc import Iterator

import golden
import numpy as np
import pytest
import zmq
from conftest import free_ports
from programs import wait_until

import rtface
from rtface import wire
from rtface.publish import Publisher
from rtface.types import Result, UserError

META = {"keypoints": ["eye(back)", "eye(front)", "nose(tip)"]}


@pytest.fixture
def address() -> str:
    return f"tcp://127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def publisher(address: str) -> Iterator[Publisher]:
    port = int(address.rsplit(":", 1)[1])
    one = Publisher("cam1", golden.SESSION, META, "127.0.0.1", port)
    yield one
    one.close()


def result(seq: int, age_s: float = 0.0) -> Result:
    base = golden.result()
    done = time.perf_counter_ns() - int(age_s * 1e9)
    return Result(seq, base.ledger._replace(t_done_ns=done), base.pose)


def until_subscribed(publisher: Publisher, n: int = 1) -> None:
    def tended() -> bool:
        publisher.tend()
        return publisher.subscribers >= n

    wait_until(tended, 5)


def test_every_message_arrives_in_order_and_gaps_are_counted(
    publisher: Publisher, address: str
) -> None:
    with rtface.subscribe("cam1", address, timeout_s=1) as stream:
        until_subscribed(publisher)
        for seq in (0, 1, 2, 5, 6):  # as if 3 and 4 were lost on the way
            publisher.send(result(seq))
        messages = [stream.receive(5) for _ in range(5)]
    assert [m.seq for m in messages if m] == [0, 1, 2, 5, 6]
    assert (stream.received, stream.lost) == (5, 2)
    np.testing.assert_array_equal(messages[0].keypoints, golden.result().pose.keypoints)


def test_another_run_counts_anew(publisher: Publisher, address: str) -> None:
    with rtface.subscribe("cam1", address, timeout_s=1) as stream:
        until_subscribed(publisher)
        publisher.send(result(0))
        assert stream.receive(5) is not None
        publisher.close()
        second = Publisher("cam1", "f" * 16, META, "127.0.0.1", int(address.rsplit(":", 1)[1]))
        message = None
        try:
            while message is None:  # a subscription is renewed from within receive
                second.tend()
                second.send(result(7))
                message = stream.receive(0.05)
        finally:
            second.close()
        assert message.fields["session"] == "f" * 16
        assert (stream.received, stream.lost) == (2, 0)


def test_latest_never_hands_out_what_is_too_old(publisher: Publisher, address: str) -> None:
    with rtface.subscribe("cam1", address, latest=True) as stream:
        until_subscribed(publisher)
        publisher.send(result(0, age_s=0.2))
        assert stream.receive(0.5) is None
        assert stream.stale == 1
        publisher.send(result(1))
        message = stream.receive(5)
        assert message is not None
        assert message.seq == 1


def test_a_subscription_to_the_padded_topic_is_served(publisher: Publisher, address: str) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.SUBSCRIBE, b"fast.cam1.".ljust(16, b"\0"))
        socket.setsockopt(zmq.RCVTIMEO, 5000)
        socket.connect(address)
        until_subscribed(publisher)
        publisher.send(result(0))
        assert len(socket.recv()) == 80 + 36


def test_timeouts_hold_while_stale_messages_come(publisher: Publisher, address: str) -> None:
    with rtface.subscribe("cam1", address, max_age_s=0.001) as stream:
        until_subscribed(publisher)
        sending = threading.Event()

        def send() -> None:
            seq = 0
            while not sending.wait(0.002):
                publisher.send(result(seq, age_s=1.0))
                seq += 1

        sender = threading.Thread(target=send)
        sender.start()
        start = time.monotonic()
        assert stream.receive(0.3) is None
        assert time.monotonic() - start < 3
        sending.set()
        sender.join()


def test_latest_keeps_only_the_newest(publisher: Publisher, address: str) -> None:
    with rtface.subscribe("cam1", address, latest=True, max_age_s=60) as stream:
        until_subscribed(publisher)
        for seq in range(100):
            publisher.send(result(seq))
        time.sleep(0.3)
        message = stream.receive(5)
        assert message is not None
        assert message.seq == 99
        assert stream.receive(0.1) is None


def test_meta_comes_at_once_to_each_new_subscriber(publisher: Publisher, address: str) -> None:
    publisher.tend()  # the first meta goes to nobody, the next would be 5 s away
    for _ in range(2):
        with rtface.subscribe("cam1", address) as stream:
            start = time.monotonic()
            wait_until(lambda: publisher.tend() or bool(stream._meta_socket.poll(0)), 4)
            assert stream.meta()["keypoints"] == META["keypoints"]
            assert time.monotonic() - start < 4


def test_cam1_does_not_get_cam10(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    publisher = Publisher("cam10", golden.SESSION, META, "127.0.0.1", port)
    with rtface.subscribe("cam1", address) as near, rtface.subscribe("cam10", address) as right:
        until_subscribed(publisher)
        publisher.send(result(0))
        assert right.receive(5) is not None
        assert near.receive(0.2) is None
    publisher.close()


def test_publisher_survives_a_peer_that_talks_back(publisher: Publisher, address: str) -> None:
    with (
        rtface.subscribe("cam1", address) as stream,
        zmq.Context() as context,
        context.socket(zmq.XSUB) as rude,
    ):
        rude.setsockopt(zmq.LINGER, 0)
        rude.connect(address)
        for noise in (b"", b"\x07hello", b"\x00never subscribed", b"\x01", b"x" * 100_000):
            rude.send(noise)
        until_subscribed(publisher)
        for _ in range(20):
            publisher.tend()
            time.sleep(0.01)
        publisher.send(result(0))
        assert stream.receive(5) is not None


def test_foreign_messages_are_counted_and_passed_over(address: str) -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as foreign:
        foreign.bind(address)
        with rtface.subscribe("cam1", address) as stream:
            assert foreign.recv()
            foreign.send_multipart([b"pose.cam1.", b"\xc1"])
            foreign.send_multipart([b"pose.cam1.", b"not", b"ours"])
            foreign.send_multipart(wire.encode_pose("pose.cam1.", "0" * 16, golden.result()))
            message = stream.receive(5)
            assert message is not None
            assert (message.seq, stream.foreign, stream.received) == (1000, 2, 1)


def test_names_follow_a_new_run(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    runs = {"a" * 16: ["one", "two", "three"], "b" * 16: ["x", "y", "z"]}
    with rtface.subscribe("cam1", address) as stream:
        for session, names in runs.items():
            meta = {"keypoints": names, "session": session}
            publisher = Publisher("cam1", session, meta, "127.0.0.1", port)
            try:

                def heard(publisher: Publisher = publisher, session: str = session) -> bool:
                    publisher.tend()
                    publisher.send(result(0))
                    message = stream.receive(0.02)
                    mine = message is not None and message.fields["session"] == session
                    return mine and stream.meta(0.05)["session"] == session

                wait_until(heard, 10)
                message = stream.receive(1)
                while message is None:
                    publisher.send(result(0))
                    message = stream.receive(1)
                assert stream.names(message) == names
            finally:
                publisher.close()


def test_port_in_use_is_one_line(publisher: Publisher, address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    with pytest.raises(UserError, match=f"{port}: cannot open the data port"):
        Publisher("cam2", golden.SESSION, META, "127.0.0.1", port)


def test_ages_need_one_clock() -> None:
    with pytest.raises(ValueError, match="one machine"):
        rtface.subscribe("cam1", "tcp://10.0.0.7:5581", max_age_s=0.1)


def test_nobody_there(address: str) -> None:
    with rtface.subscribe("cam1", address) as stream, pytest.raises(TimeoutError):
        stream.meta(timeout_s=0.2)
    with pytest.raises(TimeoutError):
        rtface.ask("status", address, timeout_s=0.2)
