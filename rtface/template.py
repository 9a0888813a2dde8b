"""The rig file that ``rtface init`` writes: every key, with its default and what it is for."""

from rtface.rules_config import LOOP_TEMPLATE

TEMPLATE = (
    """\
# A rig: what rtface runs and where results leave. Every key is shown, those that are not commented
# out with their defaults; `rtface check FILE` says what would run. Lengths are in px.
name = "rig"                  # shown in status messages

# One table per camera; its name (1-10 of a-z, 0-9, _) becomes part of every topic and ring.
[camera.cam1]
kind = "synthetic"            # a rendered face with known truth, no hardware needed
width = 640
height = 480
rate_hz = 100.0
seed = 1                      # which mouse, 0 to 999
nuisances = true              # flashes, scanning light in the pupil, a spout, a knocked camera
# sim_delay_us = 0.0          # frames come this long after the middle of their exposure
# sim_clock_ppm = 0.0         # how much too fast the camera's own clock runs
# sim_pairs = false           # its clock is latched together with the host's each second
# sim_light = "light.bin"     # a simulated light to look at (calibration/latency.py)
# line0_s = [1.0, 5.0]        # input line 0 is high from, to; to try recording by a TTL
# bbox = [0, 0, 640, 480]     # track only this part: left, top, width, height
# face = "follow"             # without bbox: look for the face, then follow it slowly; "hold": stay
                              # where it was found; "off": the whole frame
# normalise = "per frame"     # by each frame; "frozen": by the first normalise_s, for good;
                              # "adapting": by a mean with that time constant
# normalise_s = 2.0
# stamp_means = "midpoint"    # or "start", "end", "trigger", "readout_end": what the stamp marks
# exposure_us = 1000.0        # exposure time, or "frame": as each frame says
# trigger_delay_us = 0.0      # stamp_means = "trigger": from there to the exposure's start
# readout_us = 0.0            # stamp_means = "readout_end": from the exposure's end to there
# row_us = 0.0                # rolling shutter: from row to row
# delay_us = 0.0              # from the stamped moment to the delivery of the fastest frames
# delay_err_us = 10000.0      # bound on its error; one frame period if left out
# latency = "latency.json"    # measured (calibration/latency.py), instead of the two above
# whiskers = "whiskers.json"  # of `rtface calibrate whiskers`: rules may use azimuth and phase

# [camera.cam1.motion]        # motion energy and components (Facemap's motSVD), docs/motion.md
# masks = "masks.npz"         # of `rtface calibrate motion`; without them: energy at once, and
                              # components from masks that are fitted to the first fit_s
# components = 500            # of each area, at most
# fast = false                # true: rounded masks, which are read faster
# check = true                # end if the camera no longer sees what the masks were made of
# bin = 4                     # without masks: side of a block of pixels
# roi = [[100, 80, 200, 150]] # without masks: areas beside the whole frame
# fit_s = 60.0                # without masks: how much of the beginning they are fitted to

# [camera.cam1.pupil]         # area, centre, blink (as Facemap's), docs/pupil.md
# box = [300, 120, 90, 70]    # around the eye; without it the keypoints place it
# saturation = 60.0           # darker than this counts; without it it is found, and followed
# sigma = 2.0                 # size of the ellipse in standard deviations
# polarity = "dark"           # the pupil against the iris; "bright"; "auto" follows changes
# reflections = "auto"        # or [[320, 140, 12, 12]]: ellipses in boxes, with box
# adapt_s = 2.0               # time constant of what is found and followed

# [camera.cam1.running]       # how far a treadmill moves between frames
# box = [40, 400, 120, 60]    # where its belt or wheel is seen

# [camera.cam1.neural]        # neural activity as predicted from each frame, docs/neural.md
# bundle = "my-model"         # folder of `rtface neural fit`
# units = ["12", "97"]        # of its neurons: these are predicted as well, each a signal

# [camera.cam2]
# kind = "video"              # a file played as if it were a camera
# file = "mouse.avi"          # relative to this file
# rate_hz = 100.0             # the file's own rate if left out
# loop = true                 # start again at the end
# fast = false                # true: as fast as possible instead of at a rate
# embedded = ["timestamp", "frame_counter", "gpio"]   # what a Point Grey camera wrote into the
                              # first pixels, in its order; lossless recordings only

# [camera.cam3]               # a real camera; `rtface cameras` prints a table
# kind = "genicam"            # through its vendor's GenTL producer; or "pylon" (Basler's pypylon)
# producer = "/opt/spinnaker/lib/spinnaker-gentl/Spinnaker_GenTL.cti"   # looked for if left out
# serial = "21512345"         # which camera; or user_id = "face", or model
# rate_hz = 100.0             # frames per second; with a trigger that of the trigger
# width = 640                 # what is left out stays as the camera has it
# height = 480
# offset_x = 0
# offset_y = 0
# pixel_format = "Mono8"
# gain_db = 0.0
# trigger = {source = "Line0", activation = "RisingEdge", overlap = "ReadOut"}
# strobe_line = "Line1"       # output, high while it exposes: for the DAQ
# chunks = ["ExposureTime", "LineStatusAll"]   # sent with every frame
# settings = {BlackLevel = 0.0}   # any other feature by its GenICam name
# on_gone = "wait"            # when it is unplugged: wait until it is back, or "stop"

# [camera.cam4]
# kind = "uvc"                # a webcam through OpenCV: the host's times, losses unknown
# device = 0
# rate_hz = 30.0

[engine]
bundle = "default"            # or a folder with model.onnx and model.json
runtime = "onnxruntime"       # or "openvino", "tensorrt", "tensorrt_rtx"; "auto": the fastest of
                              # the CPU's; "null" runs no network and measures the path alone
# precision = "fp32"          # or "bf16", "fp16", "int8", "int8-bf16", as runtime and network have
# gpu = 0                     # of TensorRT, as nvidia-smi counts; else one without a display
# keep_warm_ms = 0            # of TensorRT: a GPU without a frame for so long runs the last again
threads = 1                   # more only if one core misses the frame budget
fast_cores = true             # camera and tracker keep off cores that are slow to save power
priority = 0                  # SCHED_FIFO of camera and tracker (10); 0: the ordinary scheduler

[stream]
host = "127.0.0.1"            # this machine only; use an SSH tunnel from elsewhere
control_port = 5580
data_port = 5581              # first camera; the next ones 2 further each
status_port = 5582

[ring]
frames_s = 2.0                # kept in memory for readers that lag
results_s = 30.0

[record]
# folder = "recordings"       # relative to this file; nothing is recorded without it
start = "run"                 # or "command" (control port), or "line" (while an input line is high)
line = 0                      # which input line of the first camera
video = "x264"                # "ffv1" is lossless, "nvenc" needs an NVIDIA GPU, "none": no video
quality = 18                  # of x264 and nvenc; smaller is better
part_s = 60.0                 # length of one video file, s
warn_free_mb = 10000          # warn below this much room on the disk
stop_free_mb = 1000           # stop recording, not the stream, below this much

"""
    + LOOP_TEMPLATE
)
