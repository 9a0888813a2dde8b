/* What the files of the front share with each other; no concern of a backend. */
#ifndef RTFACE_FRONT_INTERNAL_H
#define RTFACE_FRONT_INTERNAL_H

#include <pthread.h>

#include "front.h"

/* Where a buffer is. Only one that is LOOSE or was delivered belongs to the consumer. */
enum { LOOSE, INPUT, FILLING, OUTPUT };

typedef struct {
    front_buffer *first, *last;
    uint64_t count;
} front_queue;

struct front_stream {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* output grew, or a wait is to end, or a buffer is no longer FILLING */
    bool open, grabbing, registered;
    unsigned kills; /* waits that EventKill still has to end */
    unsigned waiting;
    front_buffer *announced;
    uint64_t announced_count, filling_count;
    front_queue input, output;
    uint64_t delivered, underruns, started, fired;
    uint64_t frames_left; /* of the acquisition, GENTL_FOREVER: no end */
};

typedef struct {
    bool listed; /* found by the last scan */
    bool open;
    front_device_info info;
    void *camera;
    front_stream stream;
    char port; /* its address is the handle of the remote port */
} front_device;

typedef struct {
    pthread_mutex_t lock; /* guards the lists and what is open; streams have their own lock */
    bool initialised, tl_open, if_open;
    front_device devices[FRONT_DEVICES_MAX];
    char path[1024]; /* of this library */
} front_state;

extern front_state front;

/* Handles are the addresses of objects that live for ever, so any value can be checked. */
#define FRONT_TL ((TL_HANDLE)&front.tl_open)
#define FRONT_IF ((IF_HANDLE)&front.if_open)
front_device *front_device_of(DEV_HANDLE handle);      /* NULL: no open device */
front_device *front_device_of_port(PORT_HANDLE port);  /* NULL: no open device's remote port */
front_device *front_device_of_stream(DS_HANDLE handle); /* NULL: no open stream */

/* Remember `code` and its text for GCGetLastError, and return it. */
GC_ERROR front_fail(GC_ERROR code, const char *text);

/* Answers of info functions, following the size protocol described in gentl.h. */
GC_ERROR front_put(INFO_TYPE is, const void *value, size_t bytes, INFO_TYPE *type, void *buffer,
                   size_t *size);
GC_ERROR front_put_string(const char *text, INFO_TYPE *type, void *buffer, size_t *size);
GC_ERROR front_put_i32(int32_t value, INFO_TYPE *type, void *buffer, size_t *size);
GC_ERROR front_put_u32(uint32_t value, INFO_TYPE *type, void *buffer, size_t *size);
GC_ERROR front_put_u64(uint64_t value, INFO_TYPE *type, void *buffer, size_t *size);
GC_ERROR front_put_size(size_t value, INFO_TYPE *type, void *buffer, size_t *size);
GC_ERROR front_put_bool(bool value, INFO_TYPE *type, void *buffer, size_t *size);
GC_ERROR front_put_ptr(void *value, INFO_TYPE *type, void *buffer, size_t *size);
GC_ERROR front_put_device(const front_device *device, int32_t what, INFO_TYPE *type,
                          void *buffer, size_t *size);

/* Called with front.lock held, when a device is closed. */
void front_stream_init(front_stream *stream);
void front_stream_shut(front_device *device);

/* The buffer with this handle, or NULL. It stays one as long as the stream's lock is held. */
front_buffer *front_known(front_stream *stream, BUFFER_HANDLE handle);

#endif
