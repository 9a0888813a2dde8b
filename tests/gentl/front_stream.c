/* The data stream: buffers, the input and output queue, starting and stopping. */
#include <stdlib.h>
#include <string.h>

#include "front_internal.h"

front_device *front_device_of_stream(DS_HANDLE handle) {
    for (int i = 0; i < FRONT_DEVICES_MAX; i++) {
        front_device *device = &front.devices[i];
        if (handle == &device->stream && device->open && device->stream.open) return device;
    }
    return NULL;
}

#define NEED_STREAM(stream, handle)                                                            \
    front_device *device = front_device_of_stream(handle);                                     \
    if (!device) return front_fail(GC_ERR_INVALID_HANDLE, "not an open stream");               \
    front_stream *stream = &device->stream

void front_stream_init(front_stream *stream) {
    memset(stream, 0, sizeof *stream);
    pthread_mutex_init(&stream->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&stream->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* ---- queues; all with the stream's lock held ---- */

static void push(front_queue *queue, front_buffer *buffer, int place) {
    buffer->next_queued = NULL;
    if (queue->last) queue->last->next_queued = buffer;
    else queue->first = buffer;
    queue->last = buffer;
    queue->count++;
    buffer->place = place;
}

static front_buffer *pop(front_queue *queue) {
    front_buffer *buffer = queue->first;
    if (!buffer) return NULL;
    queue->first = buffer->next_queued;
    if (!queue->first) queue->last = NULL;
    queue->count--;
    buffer->place = LOOSE;
    return buffer;
}

front_buffer *front_known(front_stream *stream, BUFFER_HANDLE handle) {
    for (front_buffer *b = stream->announced; b; b = b->next_announced)
        if (b == handle) return b;
    return NULL;
}

/* ---- for the backend ---- */

front_buffer *front_take(front_stream *stream) {
    pthread_mutex_lock(&stream->lock);
    front_buffer *buffer = NULL;
    if (stream->grabbing && stream->frames_left > 0) {
        stream->started++;
        buffer = pop(&stream->input);
        if (buffer) {
            buffer->place = FILLING;
            stream->filling_count++;
            memset(&buffer->frame, 0, sizeof buffer->frame);
        } else {
            stream->underruns++;
        }
    }
    pthread_mutex_unlock(&stream->lock);
    return buffer;
}

void front_deliver(front_stream *stream, front_buffer *buffer) {
    pthread_mutex_lock(&stream->lock);
    buffer->new_data = true;
    stream->filling_count--;
    stream->delivered++;
    stream->fired++;
    if (stream->frames_left != GENTL_FOREVER) stream->frames_left--;
    push(&stream->output, buffer, OUTPUT);
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

/* ---- buffers ---- */

static GC_ERROR announce(front_stream *stream, void *memory, size_t size, void *user, bool owned,
                         BUFFER_HANDLE *handle) {
    front_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) return front_fail(GC_ERR_OUT_OF_MEMORY, "no memory");
    buffer->base = memory;
    buffer->size = size;
    buffer->user = user;
    buffer->owned = owned;
    pthread_mutex_lock(&stream->lock);
    front_buffer **end = &stream->announced;
    while (*end) end = &(*end)->next_announced;
    *end = buffer;
    stream->announced_count++;
    pthread_mutex_unlock(&stream->lock);
    *handle = buffer;
    return GC_ERR_SUCCESS;
}

GC_ERROR DSAnnounceBuffer(DS_HANDLE handle, void *memory, size_t size, void *user,
                          BUFFER_HANDLE *buffer) {
    NEED_STREAM(stream, handle);
    if (!memory || !size || !buffer) return front_fail(GC_ERR_INVALID_PARAMETER, "no memory");
    return announce(stream, memory, size, user, false, buffer);
}

GC_ERROR DSAllocAndAnnounceBuffer(DS_HANDLE handle, size_t size, void *user,
                                  BUFFER_HANDLE *buffer) {
    NEED_STREAM(stream, handle);
    if (!size || !buffer) return front_fail(GC_ERR_INVALID_PARAMETER, "no size");
    void *memory = malloc(size);
    if (!memory) return front_fail(GC_ERR_OUT_OF_MEMORY, "no memory");
    return announce(stream, memory, size, user, true, buffer);
}

static void forget(front_stream *stream, front_buffer *buffer) {
    front_buffer **link = &stream->announced;
    while (*link != buffer) link = &(*link)->next_announced;
    *link = buffer->next_announced;
    stream->announced_count--;
    if (buffer->owned) free(buffer->base);
    free(buffer);
}

/* The memory goes back to the consumer, so nobody may be writing into it any more. */
GC_ERROR DSRevokeBuffer(DS_HANDLE handle, BUFFER_HANDLE which, void **memory, void **user) {
    NEED_STREAM(stream, handle);
    pthread_mutex_lock(&stream->lock);
    front_buffer *buffer = front_known(stream, which);
    GC_ERROR result = GC_ERR_SUCCESS;
    if (!buffer) {
        result = front_fail(GC_ERR_INVALID_HANDLE, "not a buffer of this stream");
    } else if (buffer->place != LOOSE) {
        result = front_fail(GC_ERR_BUSY, "the buffer is queued: flush first");
    } else {
        if (memory) *memory = buffer->owned ? NULL : buffer->base;
        if (user) *user = buffer->user;
        forget(stream, buffer);
    }
    pthread_mutex_unlock(&stream->lock);
    return result;
}

GC_ERROR DSQueueBuffer(DS_HANDLE handle, BUFFER_HANDLE which) {
    NEED_STREAM(stream, handle);
    pthread_mutex_lock(&stream->lock);
    front_buffer *buffer = front_known(stream, which);
    GC_ERROR result = GC_ERR_SUCCESS;
    if (!buffer) {
        result = front_fail(GC_ERR_INVALID_HANDLE, "not a buffer of this stream");
    } else if (buffer->place != LOOSE) {
        result = front_fail(GC_ERR_RESOURCE_IN_USE, "the buffer is queued already");
    } else {
        buffer->new_data = false;
        push(&stream->input, buffer, INPUT);
    }
    pthread_mutex_unlock(&stream->lock);
    return result;
}

GC_ERROR DSGetBufferID(DS_HANDLE handle, uint32_t index, BUFFER_HANDLE *buffer) {
    NEED_STREAM(stream, handle);
    pthread_mutex_lock(&stream->lock);
    front_buffer *found = stream->announced;
    while (found && index-- > 0) found = found->next_announced;
    pthread_mutex_unlock(&stream->lock);
    *buffer = found;
    return found ? GC_ERR_SUCCESS : front_fail(GC_ERR_INVALID_INDEX, "no such buffer");
}

/* ---- acquisition ---- */

GC_ERROR DSStartAcquisition(DS_HANDLE handle, int32_t flags, uint64_t frames) {
    (void)flags;
    NEED_STREAM(stream, handle);
    pthread_mutex_lock(&stream->lock);
    bool was = stream->grabbing;
    if (!was) {
        stream->grabbing = true;
        stream->delivered = 0;
        stream->frames_left = frames;
    }
    pthread_mutex_unlock(&stream->lock);
    if (was) return front_fail(GC_ERR_RESOURCE_IN_USE, "acquisition runs already");
    GC_ERROR result = front_the_backend.start(device->camera, stream);
    if (result != GC_ERR_SUCCESS) {
        pthread_mutex_lock(&stream->lock);
        stream->grabbing = false;
        pthread_mutex_unlock(&stream->lock);
        return front_fail(result, "the camera's stream cannot be started");
    }
    return GC_ERR_SUCCESS;
}

static bool stop(front_device *device) {
    front_stream *stream = &device->stream;
    pthread_mutex_lock(&stream->lock);
    bool was = stream->grabbing;
    stream->grabbing = false;
    pthread_mutex_unlock(&stream->lock);
    if (was) front_the_backend.stop(device->camera);
    return was;
}

GC_ERROR DSStopAcquisition(DS_HANDLE handle, int32_t flags) {
    (void)flags;
    NEED_STREAM(stream, handle);
    (void)stream;
    return stop(device) ? GC_ERR_SUCCESS
                        : front_fail(GC_ERR_RESOURCE_IN_USE, "acquisition does not run");
}

/* A buffer that is being filled stays where it is; it turns up in the output queue. */
GC_ERROR DSFlushQueue(DS_HANDLE handle, int32_t what) {
    NEED_STREAM(stream, handle);
    if (what < FLUSH_INPUT_TO_OUTPUT || what > FLUSH_ALL_DISCARD)
        return front_fail(GC_ERR_INVALID_PARAMETER, "unknown kind of flush");
    pthread_mutex_lock(&stream->lock);
    front_buffer *buffer;
    if (what == FLUSH_INPUT_TO_OUTPUT)
        while ((buffer = pop(&stream->input))) push(&stream->output, buffer, OUTPUT);
    if (what == FLUSH_ALL_DISCARD)
        while (pop(&stream->input)) continue;
    if (what == FLUSH_OUTPUT_DISCARD || what == FLUSH_ALL_DISCARD || what == FLUSH_ALL_TO_INPUT)
        while (pop(&stream->output)) continue;
    if (what == FLUSH_ALL_TO_INPUT || what == FLUSH_UNQUEUED_TO_INPUT)
        for (buffer = stream->announced; buffer; buffer = buffer->next_announced)
            if (buffer->place == LOOSE) push(&stream->input, buffer, INPUT);
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    return GC_ERR_SUCCESS;
}

/* Close: stop, send waiting threads away, and forget all buffers. */
void front_stream_shut(front_device *device) {
    front_stream *stream = &device->stream;
    if (!stream->open) return;
    stop(device);
    pthread_mutex_lock(&stream->lock);
    stream->registered = false;
    pthread_cond_broadcast(&stream->changed);
    while (stream->waiting > 0 || stream->filling_count > 0)
        pthread_cond_wait(&stream->changed, &stream->lock);
    while (stream->announced) forget(stream, stream->announced);
    memset(&stream->input, 0, sizeof stream->input);
    memset(&stream->output, 0, sizeof stream->output);
    stream->open = false;
    pthread_mutex_unlock(&stream->lock);
}

GC_ERROR DSClose(DS_HANDLE handle) {
    pthread_mutex_lock(&front.lock);
    front_device *device = front_device_of_stream(handle);
    if (device) front_stream_shut(device);
    pthread_mutex_unlock(&front.lock);
    return device ? GC_ERR_SUCCESS : front_fail(GC_ERR_INVALID_HANDLE, "not an open stream");
}

GC_ERROR DSGetParentDev(DS_HANDLE handle, DEV_HANDLE *parent) {
    NEED_STREAM(stream, handle);
    (void)stream;
    *parent = device;
    return GC_ERR_SUCCESS;
}
