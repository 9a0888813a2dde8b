"""DeepLabCut-live: ``DLCLive.get_pose`` on a snapshot of random weights, one animal, no detector.

The snapshot is made here, of the classes that DeepLabCut-live builds networks from. RTMPose-s
takes 256x256 pixels and no other size: a frame is resized to that before, and its keypoints back
to the frame. (The way that the package has for one animal without a detector,
``TopDownDynamicCropper``, refuses every frame in 1.1.0.) ResNet-50 takes any size.

torchvision's compiled operators do not load beside a PyTorch for CPUs. They are declared, so that
it can be imported; none of them is part of these networks.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import _worker
import cv2
import numpy as np
import torch

N_KEYPOINTS = 15
SIDE = 256


def heatmap_head(channels: int) -> dict[str, Any]:
    def deconvolution(outputs: int) -> dict[str, Any]:
        return {"channels": [channels, outputs], "kernel_size": [3], "strides": [2]}

    return {
        "type": "HeatmapHead",
        "predictor": {
            "type": "HeatmapPredictor",
            "apply_sigmoid": False,
            "clip_scores": True,
            "location_refinement": True,
            "locref_std": 7.2801,
        },
        "heatmap_config": deconvolution(N_KEYPOINTS),
        "locref_config": deconvolution(2 * N_KEYPOINTS),
    }


RESNET = {
    "backbone": {
        "type": "ResNet",
        "model_name": "resnet50_gn",
        "output_stride": 16,
        "freeze_bn_stats": False,
        "freeze_bn_weights": False,
    },
    "backbone_output_channels": 2048,
    "heads": {"bodypart": heatmap_head(2048)},
}
RTMPOSE = {
    "backbone": {
        "type": "CSPNeXt",
        "model_name": "cspnext_s",
        "deepen_factor": 0.33,
        "widen_factor": 0.5,
        "freeze_bn_stats": False,
        "freeze_bn_weights": False,
    },
    "backbone_output_channels": 512,
    "heads": {
        "bodypart": {
            "type": "RTMCCHead",
            "predictor": {
                "type": "SimCCPredictor",
                "simcc_split_ratio": 2.0,
                "sigma": [5.66, 5.66],
                "decode_beta": 150.0,
                "apply_softmax": True,
                "normalize_outputs": False,
            },
            "input_size": [SIDE, SIDE],
            "in_channels": 512,
            "out_channels": N_KEYPOINTS,
            "in_featuremap_size": [SIDE // 32, SIDE // 32],
            "simcc_split_ratio": 2.0,
            "final_layer_kernel_size": 7,
            "gau_cfg": {
                "hidden_dims": 256,
                "s": 128,
                "expansion_factor": 2,
                "dropout_rate": 0,
                "drop_path": 0.0,
                "act_fn": "SiLU",
                "use_rel_bias": False,
                "pos_enc": False,
            },
        }
    },
}
#: network and DLCLive's factor for the frame's size; None: resized to SIDE x SIDE before
KINDS = {"rtmpose_s": (RTMPOSE, None), "resnet50": (RESNET, 1.0), "resnet50_0.4": (RESNET, 0.4)}


def snapshot(model: dict[str, Any], path: Path) -> int:
    """Write a network with random weights as DeepLabCut exports one; return its parameters."""
    from dlclive.pose_estimation_pytorch.models import PoseModel

    torch.manual_seed(0)
    net = PoseModel.build(copy.deepcopy(model))
    config = {
        "method": "bu",
        "metadata": {
            "bodyparts": [f"k{i}" for i in range(N_KEYPOINTS)],
            "unique_bodyparts": [],
            "individuals": ["animal"],
        },
        "data": {"inference": {"normalize_images": True}},
        "model": copy.deepcopy(model),
    }
    torch.save({"config": config, "pose": net.state_dict(), "detector": None}, path)
    return sum(p.numel() for p in net.parameters())


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    declared = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from dlclive import DLCLive

    model, factor = KINDS[sys.argv[2]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot.pt"
        parameters = snapshot(model, path)
        live = DLCLive(str(path), "pytorch", device="cpu", resize=factor)
        first = np.load(sys.argv[1], mmap_mode="r")[0]
        live.init_inference(np.array(first if factor else first[:SIDE, :SIDE]))

    def estimate(frame: np.ndarray) -> np.ndarray:
        if factor is not None:
            return live.get_pose(frame)
        height, width = frame.shape
        pose = live.get_pose(cv2.resize(frame, (SIDE, SIDE)))
        pose[:, :2] *= (width / SIDE, height / SIDE)
        return pose

    _worker.serve(
        estimate,
        ("deeplabcut-live", "torch", "timm", "numpy"),
        weights="random",
        parameters=parameters,
    )


if __name__ == "__main__":
    main()
