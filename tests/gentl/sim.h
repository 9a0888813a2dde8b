/* A simulated camera behind the GenTL front: what the sim_*.c files share.
 *
 * The file named by RTFACE_GENTL_SIM configures it: lines `key = value` for all cameras together
 * (cameras, control, seed) and `N.key = value` for camera N; the keys of a camera are the fields
 * of sim_config below, with the defaults set in sim_config.c.
 *
 * Faults are lists `frame:value, frame:value`, where frame counts the exposures since the last
 * AcquisitionStart:
 *   drop = 100:3         exposures 100, 101 and 102 get lost on the link; their ids are used up
 *   incomplete = 200:1   delivered with half of the bytes
 *   delay = 300:50       delivered 50 ms late; later frames queue behind it
 *   silent = 400:100     before exposure 400 the camera does nothing for 100 ms; ids go on
 *   die = 500            the camera is gone from then on (once only) ...
 *   back_ms = 700        ... and is found again after so long, with its clock and ids restarted
 *
 * The control file (`control = path`, 512 bytes, made by the test) holds eight int64 per camera:
 *   0  rising edges asked for on Line0 since the file was made (a counter that only grows)
 *   1  levels of the input lines, bit n for LineN
 *   2  not 0: the camera is dead; back to 0: it can be found again
 *   3  written by the simulator: edges of word 0 that it has acted on
 *   4  written by the simulator: not 0 while the camera exposes or waits for triggers
 *   5  written by the simulator: CLOCK_MONOTONIC when the fault `die` struck; 0: not yet
 *   6  written by the simulator: CLOCK_MONOTONIC when the camera was switched on
 * By the last two a camera stays the same for a program that reopens it in another process:
 * its clock goes on, it is dead for as long as it should be, and it dies no second time.
 *
 * The log (`N.log = path`) is appended with one sim_record for each exposure and missed trigger,
 * before the consumer can see the frame. ExposureMode TriggerWidth is accepted but exposes for
 * ExposureTime, and TriggerOverlap is accepted without effect.
 */
#ifndef RTFACE_SIM_H
#define RTFACE_SIM_H

#include <pthread.h>

#include "front.h"

#define SIM_FAULTS_MAX 64
#define SIM_LINES 4
#define SIM_PENDING 4096 /* exposures on their way to the host */
#define SIM_CHUNKS 5

typedef struct {
    int64_t frame;
    double value;
} sim_fault;

typedef struct {
    int count;
    sim_fault items[SIM_FAULTS_MAX];
} sim_faults;

typedef struct {
    char serial[64], user_id[64], model[64], vendor[64], tl_type[16], pixel_format[32];
    char clip[1024], log[1024], names[16], stamp[16];
    int64_t width, height, line_padding, id_bits, first_id, id_restart;
    int64_t has_timestamp, has_timestamp_ns, latch, tick_hz, clock_start_ns;
    int64_t die, back_ms, automatic;
    double rate_hz, rate_max_hz, exposure_us, drift_ppm, delivery_delay_us, jitter_us;
    double register_us; /* how long each access of a register takes */
    sim_faults drop, incomplete, delay, silent;
} sim_config;

typedef struct { /* what a frame of this pixel format looks like in memory */
    const char *name;
    uint32_t pfnc;
    int bits;        /* per pixel in memory */
    int significant; /* of the value */
} sim_format;

enum { WHAT_DELIVERED, WHAT_DROPPED, WHAT_INCOMPLETE, WHAT_NO_BUFFER, WHAT_TRIGGER_MISSED };

typedef struct { /* a record of the log */
    int64_t segment;    /* acquisition starts of this camera in this process, from 0 */
    int64_t index;      /* exposures since that start, from 0; a missed trigger: of the next */
    int64_t frame_id;   /* 0 for a missed trigger */
    int64_t device_ns;  /* the camera's clock when it took the timestamp, before any rounding */
    int64_t middle_ns;  /* CLOCK_MONOTONIC of the middle of the exposure, or of the trigger */
    int64_t delivery_ns; /* CLOCK_MONOTONIC when the consumer could have it; 0 if it never can */
    int64_t what;
    int64_t clip_index; /* -1 for a missed trigger */
} sim_record;

typedef struct { /* of an image and what follows it, as the registers say at one moment */
    const sim_format *format;
    size_t width, height, x_offset, y_offset;
    size_t stride;  /* bytes from one line to the next */
    size_t payload; /* bytes in all */
    bool with_chunks;
    unsigned chunks; /* bit n: the n-th is enabled */
} sim_layout;

typedef struct { /* an exposure on its way */
    sim_record record;
    sim_layout layout; /* the registers may change before it arrives */
    int64_t due_ns;
    double exposure_us, gain;
    int64_t lines;
} sim_exposure;

/* Registers of eight bytes at SIM_REGISTER_BASE + 8 * number: int64 or double, little endian. */
enum {
    R_WIDTH, R_HEIGHT, R_OFFSET_X, R_OFFSET_Y, R_PIXEL_FORMAT, R_ACQ_MODE, R_RATE_ON, R_RATE_AUTO,
    R_RATE, R_EXPOSURE_AUTO, R_EXPOSURE_MODE, R_EXPOSURE, R_GAIN_AUTO, R_GAIN, R_BLACK_LEVEL,
    R_GAMMA_ON, R_GAMMA, R_TRIGGER_SELECTOR, R_TRIGGER_MODE, R_TRIGGER_SOURCE,
    R_TRIGGER_ACTIVATION, R_TRIGGER_DELAY, R_TRIGGER_OVERLAP, R_LINE_SELECTOR, R_CHUNK_MODE,
    R_CHUNK_SELECTOR, R_TL_LOCKED, R_LATCHED,
    R_STORED, /* those before are plain values, the others are worked out at each access */
    R_LINE_MODE = R_STORED, R_LINE_SOURCE, R_LINE_INVERTER, R_LINE_STATUS, R_LINE_STATUS_ALL,
    R_STROBE_ON, R_STROBE_DELAY, R_STROBE_DURATION, R_CHUNK_ENABLE, R_SENSOR_WIDTH,
    R_SENSOR_HEIGHT, R_WIDTH_MAX, R_HEIGHT_MAX, R_OFFSET_X_MAX, R_OFFSET_Y_MAX, R_RATE_MAX,
    R_EXPOSURE_MAX, R_PAYLOAD, R_TEMPERATURE, R_LATCHED_TICKS, R_TICK_HZ,
    R_START, R_STOP, R_SOFTWARE, R_LATCH, R_CLOCK_RESET, /* commands */
    R_LOCK_STREAM, R_LOCK_EXPOSURE, R_LOCK_GAIN, R_LOCK_RATE, R_LOCK_LINE_MODE, R_LOCK_TRIGGER,
    R_COUNT
};
#define SIM_REGISTER_BASE 0x1000
#define SIM_STRING_BASE 0x8000 /* vendor, model, serial, user id, version; 64 bytes each */
#define SIM_CHUNK_ID 0x1001    /* of the first chunk */

typedef union {
    int64_t i;
    double f;
} sim_value;

typedef struct {
    int number;
    sim_config config;
    const sim_format *format; /* of the clip */
    const uint8_t *clip;      /* NULL: a generated gradient */
    size_t clip_bytes;
    int64_t clip_frames;
    char *xml;
    size_t xml_size;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t wake;
    sim_value stored[R_STORED];
    int64_t line_mode[SIM_LINES], line_source[SIM_LINES], line_inverter[SIM_LINES];
    int64_t strobe_on[SIM_LINES];
    double strobe_delay[SIM_LINES], strobe_duration[SIM_LINES];
    int64_t chunk_enable[SIM_CHUNKS];

    volatile int64_t *control; /* eight words, or NULL */
    int log_file;              /* or -1 */
    bool dead;
    int64_t dead_since_ns, fault_ns; /* the latter: when it died by itself, 0: it did not */
    int64_t generation, opened; /* grows at each death; what it was when the handle was opened */
    int64_t boot_ns, clock_at_boot_ns;

    bool thread_runs, stop;
    pthread_t thread;
    front_stream *stream;
    bool acquiring;
    int64_t segment, index, next_id;
    int64_t next_ns; /* host time at which the next exposure begins, free running ... */
    double carry_ns; /* ... and the fraction of a nanosecond that it leaves out */
    int64_t busy_until_ns, exposing_from_ns, exposing_to_ns, last_due_ns;
    int64_t edges_seen, levels_seen;
    uint64_t random;
    sim_exposure pending[SIM_PENDING];
    unsigned first_pending, pending_count;
} sim_camera;

extern sim_camera *sim_cameras[FRONT_DEVICES_MAX];

/* sim_config.c */
bool sim_configure(const char *path); /* builds sim_cameras; false, with a line on stderr */
const double *sim_fault_at(const sim_faults *faults, int64_t index, bool as_range);

/* sim.c */
int64_t sim_now(void);
int64_t sim_clock(const sim_camera *camera, int64_t host_ns); /* the camera's clock, in ns */
uint64_t sim_ticks(const sim_camera *camera, int64_t device_ns);
void sim_boot(sim_camera *camera); /* everything as after power was switched on */
void sim_die(sim_camera *camera);
void sim_die_by_itself(sim_camera *camera); /* unless it did so before */
bool sim_alive(sim_camera *camera); /* looks at the control file and the clock first */
void sim_log(sim_camera *camera, const sim_record *record);

/* sim_xml.c */
char *sim_make_xml(const sim_camera *camera);

/* sim_registers.c; all with the lock held */
GC_ERROR sim_read(sim_camera *camera, uint64_t address, void *data, size_t size);
GC_ERROR sim_write(sim_camera *camera, uint64_t address, const void *data, size_t size);
int64_t sim_lines(sim_camera *camera, int64_t now);
void sim_registers_reset(sim_camera *camera);

/* sim_frame.c */
const sim_format *sim_format_named(const char *name);
sim_layout sim_layout_now(const sim_camera *camera); /* with the lock held */
/* Without the lock: of the camera it reads only what never changes. */
void sim_fill(const sim_camera *camera, const sim_exposure *exposure, front_buffer *buffer);

/* sim_run.c */
GC_ERROR sim_start_thread(sim_camera *camera, front_stream *stream);
void sim_stop_thread(sim_camera *camera);
void sim_acquire(sim_camera *camera, bool on);         /* with the lock held */
void sim_trigger(sim_camera *camera, int64_t host_ns); /* with the lock held */
void sim_drop_pending(sim_camera *camera);             /* with the lock held */

#endif
