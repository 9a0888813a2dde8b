"""Facemap: what ``Pose.predict_landmarks`` does to one frame, with its own functions, batch 1.

Its network has random weights: the released ones can be had from its authors alone. Speed does
not depend on them, but it does on the widths of its layers, which are not published; these are the
smallest that its repository has used.
"""

from __future__ import annotations

import _worker
import numpy as np
import torch
from facemap.pose import facemap_network, pose_helper_functions, transforms

CHANNELS = [16, 32, 64, 128, 200]
N_KEYPOINTS = 15


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device("cpu")
    net = facemap_network.FMnet(
        img_ch=1,
        output_ch=N_KEYPOINTS,
        labels_id=list(range(N_KEYPOINTS)),
        channels=CHANNELS,
        kernel=3,
        device=device,
    )
    net.eval()

    def estimate(frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape
        seen, padded, pads = transforms.preprocess_img(
            frame[None, None],
            [0, height, 0, width],
            add_padding=height != width,
            resize=(height, width) != (256, 256),
            device=device,
        )
        x, y, likelihood = pose_helper_functions.predict(net, seen, smooth=False)
        x, y = transforms.adjust_keypoints(
            x, y, crop_xy=(0, 0), padding=pads, current_size=(256, 256), desired_size=padded
        )
        return torch.stack([x[0], y[0], likelihood[0]], -1).numpy()

    _worker.serve(
        estimate,
        ("facemap", "torch", "numpy"),
        weights="random",
        parameters=sum(p.numel() for p in net.parameters()),
    )


if __name__ == "__main__":
    main()
