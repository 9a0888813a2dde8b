/* The half of a GenTL producer that is the same for every kind of camera.
 *
 * front.c, front_port.c, front_stream.c and front_event.c export the GenTL functions: handles,
 * device list, ports with their XML, buffers, queues and the new-buffer event. What is left to a
 * producer is the backend below. How to plug one in:
 *
 *   1. Define one `const front_backend front_the_backend = { ... };` in a C file of your own.
 *   2. Compile that file together with the four of the front, -fPIC -shared -pthread
 *      -fvisibility=hidden -Wl,-z,nodelete, into NAME.cti. (nodelete, because consumers unload and
 *      reload a producer at each search for devices; libraries such as GLib cannot stand that.)
 *   3. While streaming, a thread of the backend does for each frame that arrived:
 *
 *        front_buffer *buffer = front_take(stream);   // NULL: nothing queued, the frame is lost
 *        ... write at most buffer->size bytes to buffer->base, fill in buffer->frame ...
 *        front_deliver(stream, buffer);
 *
 * Calls into the backend come from any thread, and read/write also while another thread is in
 * start or stop: the backend locks what it shares. All functions return 0 (GC_ERR_SUCCESS) or a
 * negative GC_ERR_ code, except where another type is written.
 */
#ifndef RTFACE_FRONT_H
#define RTFACE_FRONT_H

#include <stdbool.h>

#include "gentl.h"

#define FRONT_DEVICES_MAX 8
#define FRONT_CHUNKS_MAX 8

typedef struct {
    char id[128]; /* unique and the same each time the camera is found */
    char vendor[64], model[64], serial[64], user_id[64], version[64];
    char tl_type[16]; /* "Custom", "GEV", "U3V": decides how consumers look for chunks */
    uint64_t tick_hz; /* of the timestamps; 0: not known, the info is refused */
    int access;       /* an ACCESS_ code; 0 means that it can be opened */
} front_device_info;

/* What a delivered buffer says about itself. */
typedef struct {
    uint64_t frame_id;
    bool has_timestamp, has_timestamp_ns;
    uint64_t timestamp, timestamp_ns; /* in ticks and in ns */
    bool incomplete;
    size_t data_size; /* what should have arrived ... */
    size_t filled;    /* ... and what did */
    size_t width, height, x_offset, y_offset;
    size_t x_padding; /* bytes at the end of each line */
    uint64_t pixel_format; /* PFNC, 32 bit */
    size_t chunk_count;
    size_t chunk_payload; /* image and chunks together, as GigE and USB3 Vision report it */
    SINGLE_CHUNK_DATA chunks[FRONT_CHUNKS_MAX];
} front_frame;

typedef struct front_stream front_stream; /* owned by the front */

typedef struct front_buffer {
    void *base;
    size_t size;
    front_frame frame;
    /* The rest belongs to the front. */
    void *user;
    bool owned; /* allocated by the front */
    bool new_data;
    int place; /* see front_internal.h */
    struct front_buffer *next_announced, *next_queued;
} front_buffer;

typedef struct {
    const char *name, *vendor, *model, *tl_type; /* of the producer as a whole */

    /* The library was loaded (or loaded again) / is about to be unloaded. */
    GC_ERROR (*init)(void);
    void (*exit)(void);

    /* Search for cameras. Writes up to FRONT_DEVICES_MAX entries and returns their number. */
    int (*scan)(front_device_info *list);

    /* Open a camera that the last scan found; *camera is handed to all calls below. */
    GC_ERROR (*open)(const char *id, void **camera);
    void (*close)(void *camera);

    /* ACCESS_ code of an open camera; NULL: always ACCESS_OPEN_READWRITE. */
    int (*access)(void *camera);

    /* The GenApi description of the camera, valid until close. */
    const char *(*xml)(void *camera, size_t *size);

    GC_ERROR (*read)(void *camera, uint64_t address, void *data, size_t size);
    GC_ERROR (*write)(void *camera, uint64_t address, const void *data, size_t size);

    /* Bytes a buffer needs; 0 if the consumer is to read the camera's PayloadSize itself. */
    size_t (*payload_size)(void *camera);

    /* Prepare to receive into `stream`: the consumer starts the camera itself, with a write to
     * its AcquisitionStart. After stop returns, no thread of the backend touches a buffer. Start
     * and stop never overlap each other. */
    GC_ERROR (*start)(void *camera, front_stream *stream);
    void (*stop)(void *camera);
} front_backend;

extern const front_backend front_the_backend;

/* Take a free buffer to write a frame into. NULL, and the underrun is counted, if there is none. */
front_buffer *front_take(front_stream *stream);

/* The buffer is filled: hand it to the consumer. */
void front_deliver(front_stream *stream, front_buffer *buffer);

#endif
