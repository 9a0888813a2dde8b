/* A backend of the front for GigE Vision cameras, on libaravis: rtfacegev.cti.
 *
 * It exists to put a real network device (a fake camera of Aravis in a process of its own, UDP in
 * between) behind the GenTL interface: packets really get lost and the camera can really die.
 *
 * Environment, read at each search and at each start:
 *   RTFACE_GEV_ADDRESS  address of the interface to look on, default 127.0.0.1
 *   RTFACE_GEV_PACKET   size of a stream packet with its headers, default 1500
 */
#include <arpa/inet.h>
#include <arv.h>
#include <ifaddrs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front.h"

/* Frames in flight inside libaravis: one is being filled, and with lost packets the one before it
 * may still be open. The others are room for a burst; the consumer's own buffers do not count. */
#define POOL 8
#define SOCKET_BUFFER (8 << 20)

typedef struct {
    ArvDevice *device;
    ArvStream *stream; /* NULL: not streaming */
    front_stream *sink;
    front_frame expected; /* libaravis tells the shape of complete frames only */
    pthread_mutex_t lock; /* held while a frame is handed over */
    bool stopping;
    atomic_bool dead; /* the camera no longer answers; only opening it anew helps */
} gev_camera;

/* Where the cameras of the last search are. Search and open are called one at a time. */
static struct {
    char id[sizeof((front_device_info *)0)->id], address[INET6_ADDRSTRLEN];
} seen[FRONT_DEVICES_MAX];
static int seen_count;

static const char *interface_address(void) {
    const char *value = getenv("RTFACE_GEV_ADDRESS");
    return value && *value ? value : "127.0.0.1";
}

static int packet_size(void) {
    const char *value = getenv("RTFACE_GEV_PACKET");
    int size = value ? atoi(value) : 0;
    return size > 0 ? size : 1500;
}

/* ---- library ---- */

static GC_ERROR gev_init(void) {
    /* A search on USB takes its time, and nothing of ours is there. */
    arv_disable_interface("USB3Vision");
    arv_disable_interface("Fake");
    return GC_ERR_SUCCESS;
}

/* libaravis stays as it is: the library is never unloaded, and GCInitLib may be called again. */
static void gev_exit(void) {}

/* ---- search ---- */

/* libaravis always asks on all interfaces, so what else answered is left out here. */
static bool reachable(const char *device) {
    struct in_addr wanted, address;
    struct ifaddrs *list = NULL;
    bool found = false;
    if (!device || inet_pton(AF_INET, device, &address) != 1 ||
        inet_pton(AF_INET, interface_address(), &wanted) != 1 || getifaddrs(&list) != 0)
        return false;
    for (struct ifaddrs *at = list; at; at = at->ifa_next) {
        if (!at->ifa_addr || !at->ifa_netmask || at->ifa_addr->sa_family != AF_INET) continue;
        in_addr_t own = ((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr.s_addr;
        in_addr_t mask = ((struct sockaddr_in *)(void *)at->ifa_netmask)->sin_addr.s_addr;
        found |= own == wanted.s_addr && ((own ^ address.s_addr) & mask) == 0;
    }
    freeifaddrs(list);
    return found;
}

static void copy_text(char *to, size_t room, const char *from) {
    snprintf(to, room, "%s", from ? from : "");
}

static int gev_scan(front_device_info *list) {
    arv_update_device_list();
    seen_count = 0;
    for (unsigned i = 0; i < arv_get_n_devices() && seen_count < FRONT_DEVICES_MAX; i++) {
        const char *address = arv_get_device_address(i);
        if (!reachable(address)) continue;
        front_device_info *info = &list[seen_count];
        copy_text(info->id, sizeof info->id, arv_get_device_id(i));
        copy_text(info->vendor, sizeof info->vendor, arv_get_device_vendor(i));
        copy_text(info->model, sizeof info->model, arv_get_device_model(i));
        copy_text(info->serial, sizeof info->serial, arv_get_device_serial_nbr(i));
        copy_text(info->version, sizeof info->version, arv_get_device_manufacturer_info(i));
        copy_text(info->tl_type, sizeof info->tl_type, "GEV");
        info->tick_hz = 1000000000; /* libaravis converts timestamps to ns before we see them */
        copy_text(seen[seen_count].id, sizeof seen[seen_count].id, info->id);
        copy_text(seen[seen_count].address, sizeof seen[seen_count].address, address);
        seen_count++;
    }
    return seen_count;
}

/* ---- control ---- */

/* Turn what libaravis says into a GenTL code, and free it. */
static GC_ERROR code_of(gev_camera *camera, GError *error) {
    GC_ERROR code = GC_ERR_IO;
    if (error && error->domain == ARV_DEVICE_ERROR) {
        switch (error->code) {
        case ARV_DEVICE_ERROR_PROTOCOL_ERROR_INVALID_ADDRESS: code = GC_ERR_INVALID_ADDRESS; break;
        case ARV_DEVICE_ERROR_NOT_CONTROLLER:
        case ARV_DEVICE_ERROR_PROTOCOL_ERROR_WRITE_PROTECT:
        case ARV_DEVICE_ERROR_PROTOCOL_ERROR_ACCESS_DENIED: code = GC_ERR_ACCESS_DENIED; break;
        case ARV_DEVICE_ERROR_PROTOCOL_ERROR_BUSY: code = GC_ERR_BUSY; break;
        /* libaravis asked several times, for seconds: each further access would take as long. */
        case ARV_DEVICE_ERROR_TIMEOUT:
        case ARV_DEVICE_ERROR_NOT_CONNECTED:
            if (camera) atomic_store(&camera->dead, true);
            break;
        default: break;
        }
    }
    g_clear_error(&error);
    return code;
}

/* Its heartbeat went unanswered, or another program took the camera. */
static void on_control_lost(ArvDevice *device, gpointer camera) {
    (void)device;
    atomic_store(&((gev_camera *)camera)->dead, true);
}

static GC_ERROR gev_open(const char *id, void **out) {
    GInetAddress *interface = NULL, *address = NULL;
    for (int i = 0; i < seen_count && !address; i++)
        if (strcmp(seen[i].id, id) == 0) address = g_inet_address_new_from_string(seen[i].address);
    if (!address) return GC_ERR_INVALID_ID;
    interface = g_inet_address_new_from_string(interface_address());
    gev_camera *camera = calloc(1, sizeof *camera);
    GError *error = NULL;
    GC_ERROR result = camera && interface ? GC_ERR_SUCCESS : GC_ERR_ERROR;
    if (!result) camera->device = arv_gv_device_new(interface, address, &error);
    if (interface) g_object_unref(interface);
    g_object_unref(address);
    if (!result && (error || !camera->device))
        result = code_of(camera, error);
    else if (!result && !arv_gv_device_is_controller(ARV_GV_DEVICE(camera->device)))
        result = GC_ERR_ACCESS_DENIED;
    if (result) {
        if (camera && camera->device) g_object_unref(camera->device);
        free(camera);
        return result;
    }
    /* The size is ours to say; libaravis would otherwise try out sizes when a stream begins. */
    arv_gv_device_set_packet_size_adjustment(ARV_GV_DEVICE(camera->device),
                                             ARV_GV_PACKET_SIZE_ADJUSTMENT_NEVER);
    /* As root, libaravis would tap the whole interface instead of opening a UDP port. On a busy
     * loopback it then met packets that were not the stream's, and frames went missing. */
    arv_gv_device_set_stream_options(ARV_GV_DEVICE(camera->device),
                                     ARV_GV_STREAM_OPTION_PACKET_SOCKET_DISABLED);
    g_signal_connect(camera->device, "control-lost", G_CALLBACK(on_control_lost), camera);
    pthread_mutex_init(&camera->lock, NULL);
    *out = camera;
    return GC_ERR_SUCCESS;
}

static void gev_stop(void *opaque);

static void gev_close(void *opaque) {
    gev_camera *camera = opaque;
    gev_stop(camera);
    g_signal_handlers_disconnect_by_data(camera->device, camera);
    g_object_unref(camera->device);
    pthread_mutex_destroy(&camera->lock);
    free(camera);
}

static int gev_access(void *opaque) {
    return atomic_load(&((gev_camera *)opaque)->dead) ? ACCESS_NOACCESS : ACCESS_OPEN_READWRITE;
}

static const char *gev_xml(void *opaque, size_t *size) {
    const char *xml = arv_device_get_genicam_xml(((gev_camera *)opaque)->device, size);
    if (!xml) *size = 0;
    return xml ? xml : "";
}

static GC_ERROR gev_read(void *opaque, uint64_t address, void *data, size_t size) {
    gev_camera *camera = opaque;
    GError *error = NULL;
    if (atomic_load(&camera->dead)) return GC_ERR_IO;
    if (size > UINT32_MAX) return GC_ERR_INVALID_PARAMETER;
    if (arv_device_read_memory(camera->device, address, (guint32)size, data, &error))
        return GC_ERR_SUCCESS;
    return code_of(camera, error);
}

static GC_ERROR gev_write(void *opaque, uint64_t address, const void *data, size_t size) {
    gev_camera *camera = opaque;
    GError *error = NULL;
    if (atomic_load(&camera->dead)) return GC_ERR_IO;
    if (size > UINT32_MAX) return GC_ERR_INVALID_PARAMETER;
    /* libaravis declares the data writable but only reads it. */
    if (arv_device_write_memory(camera->device, address, (guint32)size, (void *)(uintptr_t)data,
                                &error))
        return GC_ERR_SUCCESS;
    return code_of(camera, error);
}

/* ---- stream ---- */

/* Copied rather than received in place: libaravis wants its buffers before it knows of a frame,
 * and one that it holds could not be counted as free, taken back, or missed. */
static void hand_over(gev_camera *camera, ArvBuffer *from) {
    ArvBufferStatus status = arv_buffer_get_status(from);
    if (status == ARV_BUFFER_STATUS_ABORTED || status == ARV_BUFFER_STATUS_CLEARED) return;
    front_buffer *to = front_take(camera->sink);
    if (!to) return;
    front_frame *frame = &to->frame;
    *frame = camera->expected;
    /* Both come with the first packet of a frame, and are 0, for "not known", if it was lost. */
    frame->frame_id = arv_buffer_get_frame_id(from);
    frame->timestamp = frame->timestamp_ns = arv_buffer_get_timestamp(from);
    frame->has_timestamp = frame->has_timestamp_ns = frame->timestamp != 0;
    size_t received = 0;
    const void *data = arv_buffer_get_data(from, &received);
    /* How much of an incomplete frame came, libaravis does not tell: none of it is passed on. */
    if (status == ARV_BUFFER_STATUS_SUCCESS && data && received > 0) {
        frame->filled = received < to->size ? received : to->size;
        memcpy(to->base, data, frame->filled);
    }
    frame->incomplete = status != ARV_BUFFER_STATUS_SUCCESS || received > to->size;
    if (status == ARV_BUFFER_STATUS_SUCCESS &&
        arv_buffer_get_payload_type(from) == ARV_BUFFER_PAYLOAD_TYPE_IMAGE) {
        gint x, y, width, height, x_padding, y_padding;
        arv_buffer_get_image_region(from, &x, &y, &width, &height);
        arv_buffer_get_image_padding(from, &x_padding, &y_padding);
        frame->x_offset = (size_t)x, frame->y_offset = (size_t)y;
        frame->width = (size_t)width, frame->height = (size_t)height;
        frame->x_padding = (size_t)x_padding;
        frame->pixel_format = (uint32_t)arv_buffer_get_image_pixel_format(from);
    }
    front_deliver(camera->sink, to);
}

/* Called in the thread of libaravis that receives. It cannot come before the first buffer was
 * pushed, that is, not before camera->stream is set. */
static void on_stream(void *opaque, ArvStreamCallbackType type, ArvBuffer *buffer) {
    gev_camera *camera = opaque;
    (void)buffer;
    if (type != ARV_STREAM_CALLBACK_TYPE_BUFFER_DONE) return;
    pthread_mutex_lock(&camera->lock);
    for (ArvBuffer *done;
         !camera->stopping && (done = arv_stream_try_pop_buffer(camera->stream));) {
        hand_over(camera, done);
        arv_buffer_set_frame_id(done, 0); /* libaravis would leave those of an older frame */
        arv_buffer_set_timestamp(done, 0);
        arv_stream_push_buffer(camera->stream, done);
    }
    pthread_mutex_unlock(&camera->lock);
}

/* 0 for a feature that the camera does not have. */
static size_t feature(gev_camera *camera, const char *name) {
    GError *error = NULL;
    gint64 value = arv_device_get_integer_feature_value(camera->device, name, &error);
    if (error) {
        code_of(camera, error);
        return 0;
    }
    return value < 0 ? 0 : (size_t)value;
}

static GC_ERROR gev_start(void *opaque, front_stream *sink) {
    gev_camera *camera = opaque;
    GError *error = NULL;
    if (atomic_load(&camera->dead)) return GC_ERR_IO;
    camera->sink = sink;
    camera->stopping = false;
    camera->expected = (front_frame){
        .data_size = feature(camera, "PayloadSize"),
        .width = feature(camera, "Width"),
        .height = feature(camera, "Height"),
        .x_offset = feature(camera, "OffsetX"),
        .y_offset = feature(camera, "OffsetY"),
        .pixel_format = feature(camera, "PixelFormat"),
    };
    if (camera->expected.data_size == 0) return GC_ERR_IO;
    arv_gv_device_set_packet_size(ARV_GV_DEVICE(camera->device), packet_size(), &error);
    if (error) return code_of(camera, error);
    camera->stream = arv_device_create_stream(camera->device, on_stream, camera, &error);
    if (error || !camera->stream) {
        camera->stream = NULL;
        return code_of(camera, error);
    }
    /* The fake camera ignores requests to send a packet again; waiting for the answer would hold
     * back each later frame by the 200 ms that libaravis allows for it. */
    g_object_set(camera->stream, "packet-resend", ARV_GV_STREAM_PACKET_RESEND_NEVER,
                 "socket-buffer", ARV_GV_STREAM_SOCKET_BUFFER_FIXED, "socket-buffer-size",
                 SOCKET_BUFFER, NULL);
    for (int i = 0; i < POOL; i++)
        arv_stream_push_buffer(camera->stream, arv_buffer_new(camera->expected.data_size, NULL));
    return GC_ERR_SUCCESS;
}

static void gev_stop(void *opaque) {
    gev_camera *camera = opaque;
    if (!camera->stream) return;
    pthread_mutex_lock(&camera->lock);
    camera->stopping = true; /* nothing of a stream that is being torn down is handed over */
    pthread_mutex_unlock(&camera->lock);
    g_object_unref(camera->stream); /* ends its thread */
    camera->stream = NULL;
}

/* The camera says it best itself, in its feature PayloadSize. */
static size_t gev_payload_size(void *opaque) {
    (void)opaque;
    return 0;
}

const front_backend front_the_backend = {
    .name = "GigE Vision cameras (libaravis)",
    .vendor = "rtface",
    .model = "rtfacegev",
    .tl_type = "GEV",
    .init = gev_init,
    .exit = gev_exit,
    .scan = gev_scan,
    .open = gev_open,
    .close = gev_close,
    .access = gev_access,
    .xml = gev_xml,
    .read = gev_read,
    .write = gev_write,
    .payload_size = gev_payload_size,
    .start = gev_start,
    .stop = gev_stop,
};
