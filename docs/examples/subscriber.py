"""Print the tip of the nose as it moves: the smallest useful subscriber.

Start `rtface demo` in one terminal and this in another.
"""

import rtface

stream = rtface.subscribe("cam1", timeout_s=5)  # latest=True for closed loop
names = stream.meta()["keypoints"]
nose = names.index("nose(tip)")

for message in stream:
    x, y, score = message.keypoints[nose]
    seconds = message.fields["exposure_ns"] * 1e-9
    error_ms = message.fields["exposure_err_ns"] * 1e-6
    print(f"{seconds:.4f} s (+-{error_ms:.1f} ms)  nose({x:6.1f}, {y:6.1f}) px  score {score:.2f}")
print(f"{stream.received} messages, {stream.lost} lost")
