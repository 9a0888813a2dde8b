/* The new-buffer event, and what streams and buffers tell about themselves. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "front_internal.h"

/* ---- events: the stream's handle serves as that of its one event ---- */

static front_stream *event_of(EVENT_HANDLE handle) {
    front_device *device = front_device_of_stream(handle);
    return device && device->stream.registered ? &device->stream : NULL;
}

GC_ERROR GCRegisterEvent(EVENTSRC_HANDLE source, int32_t kind, EVENT_HANDLE *event) {
    front_device *device = front_device_of_stream(source);
    if (!device || kind != EVENT_NEW_BUFFER)
        return front_fail(GC_ERR_NOT_IMPLEMENTED, "only streams have an event: new buffer");
    if (device->stream.registered)
        return front_fail(GC_ERR_RESOURCE_IN_USE, "the event is registered already");
    device->stream.registered = true;
    *event = &device->stream;
    return GC_ERR_SUCCESS;
}

GC_ERROR GCUnregisterEvent(EVENTSRC_HANDLE source, int32_t kind) {
    front_stream *stream = event_of(source);
    if (!stream || kind != EVENT_NEW_BUFFER)
        return front_fail(GC_ERR_INVALID_HANDLE, "no such event");
    pthread_mutex_lock(&stream->lock);
    stream->registered = false;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    return GC_ERR_SUCCESS;
}

static struct timespec deadline(uint64_t timeout_ms) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (time_t)(timeout_ms / 1000);
    end.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    return end;
}

/* Take the oldest buffer of the output queue, or say why there is none. */
static GC_ERROR await(front_stream *stream, uint64_t timeout_ms, front_buffer **buffer) {
    struct timespec end = deadline(timeout_ms);
    int late = 0;
    for (;;) {
        if (!stream->registered) return GC_ERR_ABORT;
        if (stream->kills > 0) {
            stream->kills--;
            return GC_ERR_ABORT;
        }
        *buffer = stream->output.first;
        if (*buffer) break;
        if (late || timeout_ms == 0) return GC_ERR_TIMEOUT;
        if (timeout_ms > 1000000000ull) /* for ever, and what comes close to it */
            pthread_cond_wait(&stream->changed, &stream->lock);
        else
            late = pthread_cond_timedwait(&stream->changed, &stream->lock, &end) == ETIMEDOUT;
    }
    stream->output.first = (*buffer)->next_queued;
    if (!stream->output.first) stream->output.last = NULL;
    stream->output.count--;
    (*buffer)->place = LOOSE;
    return GC_ERR_SUCCESS;
}

GC_ERROR EventGetData(EVENT_HANDLE event, void *data, size_t *size, uint64_t timeout_ms) {
    front_stream *stream = event_of(event);
    if (!stream) return front_fail(GC_ERR_INVALID_HANDLE, "no such event");
    EVENT_NEW_BUFFER_DATA news;
    if (!size || (data && *size < sizeof news))
        return front_fail(GC_ERR_BUFFER_TOO_SMALL, "too little room for the event");
    front_buffer *buffer = NULL;
    pthread_mutex_lock(&stream->lock);
    stream->waiting++;
    GC_ERROR result = await(stream, timeout_ms, &buffer);
    if (result == GC_ERR_SUCCESS) {
        news.buffer = buffer;
        news.user = buffer->user;
    }
    stream->waiting--;
    if (result == GC_ERR_ABORT) pthread_cond_broadcast(&stream->changed); /* see stream_shut */
    pthread_mutex_unlock(&stream->lock);
    if (result != GC_ERR_SUCCESS)
        return front_fail(result, result == GC_ERR_TIMEOUT ? "no buffer came" : "wait ended");
    if (data) memcpy(data, &news, sizeof news);
    *size = sizeof news;
    return GC_ERR_SUCCESS;
}

GC_ERROR EventGetDataInfo(EVENT_HANDLE event, const void *data, size_t data_size, int32_t what,
                          INFO_TYPE *type, void *buffer, size_t *size) {
    const EVENT_NEW_BUFFER_DATA *news = data;
    if (!event_of(event)) return front_fail(GC_ERR_INVALID_HANDLE, "no such event");
    if (!data || data_size < sizeof *news)
        return front_fail(GC_ERR_INVALID_PARAMETER, "not the data of an event");
    switch (what) {
    case EVENT_DATA_ID: return front_put_ptr(news->buffer, type, buffer, size);
    case EVENT_DATA_VALUE: return front_put_ptr(news->user, type, buffer, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown event information");
    }
}

GC_ERROR EventGetInfo(EVENT_HANDLE event, int32_t what, INFO_TYPE *type, void *buffer,
                      size_t *size) {
    front_stream *stream = event_of(event);
    if (!stream) return front_fail(GC_ERR_INVALID_HANDLE, "no such event");
    pthread_mutex_lock(&stream->lock);
    size_t waiting = stream->output.count;
    uint64_t fired = stream->fired;
    pthread_mutex_unlock(&stream->lock);
    switch (what) {
    case EVENT_TYPE_OF: return front_put_i32(EVENT_NEW_BUFFER, type, buffer, size);
    case EVENT_IN_QUEUE: return front_put_size(waiting, type, buffer, size);
    case EVENT_FIRED: return front_put_u64(fired, type, buffer, size);
    case EVENT_SIZE:
        return front_put_size(sizeof(EVENT_NEW_BUFFER_DATA), type, buffer, size);
    case EVENT_INFO_SIZE: return front_put_size(sizeof(void *), type, buffer, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown event information");
    }
}

/* The event's queue and the output queue are one and the same here. */
GC_ERROR EventFlush(EVENT_HANDLE event) {
    if (!event_of(event)) return front_fail(GC_ERR_INVALID_HANDLE, "no such event");
    return DSFlushQueue(event, FLUSH_OUTPUT_DISCARD);
}

/* Ends one wait: one that is under way, or else the next. */
GC_ERROR EventKill(EVENT_HANDLE event) {
    front_stream *stream = event_of(event);
    if (!stream) return front_fail(GC_ERR_INVALID_HANDLE, "no such event");
    pthread_mutex_lock(&stream->lock);
    stream->kills++;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    return GC_ERR_SUCCESS;
}

/* ---- information ---- */

GC_ERROR DSGetInfo(DS_HANDLE handle, int32_t what, INFO_TYPE *type, void *buffer, size_t *size) {
    front_device *device = front_device_of_stream(handle);
    if (!device) return front_fail(GC_ERR_INVALID_HANDLE, "not an open stream");
    front_stream *s = &device->stream;
    pthread_mutex_lock(&s->lock);
    uint64_t delivered = s->delivered, underruns = s->underruns, started = s->started;
    size_t announced = s->announced_count, awaiting = s->output.count;
    size_t queued = s->input.count + s->filling_count;
    bool grabbing = s->grabbing;
    pthread_mutex_unlock(&s->lock);
    switch (what) {
    case DS_ID: return front_put_string("stream0", type, buffer, size);
    case DS_NUM_DELIVERED: return front_put_u64(delivered, type, buffer, size);
    case DS_NUM_UNDERRUN: return front_put_u64(underruns, type, buffer, size);
    case DS_NUM_ANNOUNCED: return front_put_size(announced, type, buffer, size);
    case DS_NUM_QUEUED: return front_put_size(queued, type, buffer, size);
    case DS_NUM_AWAITING: return front_put_size(awaiting, type, buffer, size);
    case DS_NUM_STARTED: return front_put_u64(started, type, buffer, size);
    case DS_PAYLOAD_SIZE: {
        size_t bytes = front_the_backend.payload_size(device->camera);
        if (!bytes) return front_fail(GC_ERR_NOT_AVAILABLE, "see the camera's PayloadSize");
        return front_put_size(bytes, type, buffer, size);
    }
    case DS_IS_GRABBING: return front_put_bool(grabbing, type, buffer, size);
    case DS_DEFINES_PAYLOAD:
        return front_put_bool(front_the_backend.payload_size(device->camera) > 0, type, buffer,
                              size);
    case DS_TLTYPE: return front_put_string(device->info.tl_type, type, buffer, size);
    case DS_NUM_CHUNKS_MAX: return front_put_size(FRONT_CHUNKS_MAX, type, buffer, size);
    case DS_ANNOUNCE_MIN:
    case DS_ALIGNMENT: return front_put_size(1, type, buffer, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown stream information");
    }
}

static GC_ERROR image_info(const front_buffer *b, int32_t what, INFO_TYPE *type, void *out,
                           size_t *size) {
    const front_frame *f = &b->frame;
    switch (what) {
    case BUF_WIDTH: return front_put_size(f->width, type, out, size);
    case BUF_HEIGHT: return front_put_size(f->height, type, out, size);
    case BUF_DELIVERED_HEIGHT: return front_put_size(f->height, type, out, size);
    case BUF_XOFFSET: return front_put_size(f->x_offset, type, out, size);
    case BUF_YOFFSET: return front_put_size(f->y_offset, type, out, size);
    case BUF_XPADDING: return front_put_size(f->x_padding, type, out, size);
    case BUF_YPADDING:
    case BUF_IMAGE_OFFSET: return front_put_size(0, type, out, size);
    case BUF_IMAGE_PRESENT: return front_put_bool(true, type, out, size);
    case BUF_PIXEL_FORMAT: return front_put_u64(f->pixel_format, type, out, size);
    case BUF_PIXEL_NAMESPACE: return front_put_u64(NAMESPACE_PFNC_32BIT, type, out, size);
    case BUF_ENDIANNESS: return front_put_i32(PIXELS_LITTLE_ENDIAN, type, out, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown buffer information");
    }
}

static GC_ERROR buffer_info(const front_device *device, const front_buffer *b, int32_t what,
                            INFO_TYPE *type, void *out, size_t *size) {
    const front_frame *f = &b->frame;
    switch (what) {
    case BUF_BASE: return front_put_ptr(b->base, type, out, size);
    case BUF_SIZE: return front_put_size(b->size, type, out, size);
    case BUF_USER_PTR: return front_put_ptr(b->user, type, out, size);
    case BUF_TIMESTAMP:
        if (!f->has_timestamp) return front_fail(GC_ERR_NOT_AVAILABLE, "no timestamp");
        return front_put_u64(f->timestamp, type, out, size);
    case BUF_TIMESTAMP_NS:
        if (!f->has_timestamp_ns) return front_fail(GC_ERR_NOT_AVAILABLE, "no timestamp in ns");
        return front_put_u64(f->timestamp_ns, type, out, size);
    case BUF_NEW_DATA: return front_put_bool(b->new_data, type, out, size);
    case BUF_IS_QUEUED: return front_put_bool(b->place != LOOSE, type, out, size);
    case BUF_IS_ACQUIRING: return front_put_bool(b->place == FILLING, type, out, size);
    case BUF_IS_INCOMPLETE: return front_put_bool(f->incomplete, type, out, size);
    case BUF_TLTYPE: return front_put_string(device->info.tl_type, type, out, size);
    case BUF_SIZE_FILLED: return front_put_size(f->filled, type, out, size);
    case BUF_DATA_SIZE: return front_put_size(f->data_size, type, out, size);
    case BUF_FRAMEID: return front_put_u64(f->frame_id, type, out, size);
    case BUF_PAYLOAD_TYPE: return front_put_size(PAYLOAD_IMAGE, type, out, size);
    case BUF_CHUNK_PAYLOAD: return front_put_size(f->chunk_payload, type, out, size);
    case BUF_TOO_LARGE: return front_put_bool(f->data_size > b->size, type, out, size);
    case BUF_HAS_CHUNKS: return front_put_bool(f->chunk_count > 0, type, out, size);
    case BUF_IS_COMPOSITE: return front_put_bool(false, type, out, size);
    default: return image_info(b, what, type, out, size);
    }
}

GC_ERROR DSGetBufferInfo(DS_HANDLE handle, BUFFER_HANDLE which, int32_t what, INFO_TYPE *type,
                         void *out, size_t *size) {
    front_device *device = front_device_of_stream(handle);
    if (!device) return front_fail(GC_ERR_INVALID_HANDLE, "not an open stream");
    front_stream *stream = &device->stream;
    pthread_mutex_lock(&stream->lock);
    const front_buffer *b = front_known(stream, which);
    GC_ERROR result = b ? buffer_info(device, b, what, type, out, size)
                        : front_fail(GC_ERR_INVALID_HANDLE, "not a buffer of this stream");
    pthread_mutex_unlock(&stream->lock);
    return result;
}

static GC_ERROR chunk_list(const front_frame *f, SINGLE_CHUNK_DATA *list, size_t *count) {
    if (list && *count < f->chunk_count)
        return front_fail(GC_ERR_BUFFER_TOO_SMALL, "too little room for the chunks");
    if (list) memcpy(list, f->chunks, f->chunk_count * sizeof *list);
    *count = f->chunk_count;
    return GC_ERR_SUCCESS;
}

GC_ERROR DSGetBufferChunkData(DS_HANDLE handle, BUFFER_HANDLE which, SINGLE_CHUNK_DATA *list,
                              size_t *count) {
    front_device *device = front_device_of_stream(handle);
    if (!device) return front_fail(GC_ERR_INVALID_HANDLE, "not an open stream");
    front_stream *stream = &device->stream;
    pthread_mutex_lock(&stream->lock);
    const front_buffer *b = front_known(stream, which);
    GC_ERROR result = b ? chunk_list(&b->frame, list, count)
                        : front_fail(GC_ERR_INVALID_HANDLE, "not a buffer of this stream");
    pthread_mutex_unlock(&stream->lock);
    return result;
}

/* Images come whole, never in parts. */
GC_ERROR DSGetNumBufferParts(DS_HANDLE stream, BUFFER_HANDLE handle, uint32_t *count) {
    if (!front_device_of_stream(stream) || !handle)
        return front_fail(GC_ERR_INVALID_HANDLE, "not an open stream");
    *count = 0;
    return front_fail(GC_ERR_NO_DATA, "this buffer has no parts");
}

GC_ERROR DSGetBufferPartInfo(DS_HANDLE stream, BUFFER_HANDLE handle, uint32_t part, int32_t what,
                             INFO_TYPE *type, void *out, size_t *size) {
    (void)stream, (void)handle, (void)part, (void)what, (void)type, (void)out, (void)size;
    return front_fail(GC_ERR_NO_DATA, "this buffer has no parts");
}
