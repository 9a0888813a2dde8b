"""Print the tip of the nose as it moves: the smallest useful subscriber.

Start `rtface demo` in one terminal and this in another; Ctrl-C ends it.
"""

from contextlib import suppress

import rtface

stream = rtface.subscribe("cam1", timeout_s=5)  # latest=True for closed loop
try:
    nose = stream.meta()["keypoints"].index("nose(tip)")
except TimeoutError as error:
    raise SystemExit(f"{error} Start `rtface demo` first.") from None

with suppress(KeyboardInterrupt):
    for message in stream:
        x, y, score = message.keypoints[nose]
        t_s = message.fields["exposure_ns"] * 1e-9
        err_ms = message.fields["exposure_err_ns"] * 1e-6
        print(f"{t_s:.4f} s (+-{err_ms:.1f} ms)  nose({x:6.1f}, {y:6.1f}) px  score {score:.2f}")
print(f"{stream.received} messages, {stream.lost} lost")
