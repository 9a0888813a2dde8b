/* The library, system, interface and device modules: what is there and what is open. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "front_internal.h"

front_state front = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char INTERFACE_ID[] = "interface0";
static const char STREAM_ID[] = "stream0";

front_device *front_device_of(DEV_HANDLE handle) {
    for (int i = 0; i < FRONT_DEVICES_MAX; i++)
        if (handle == &front.devices[i] && front.devices[i].open) return &front.devices[i];
    return NULL;
}

front_device *front_device_of_port(PORT_HANDLE port) {
    for (int i = 0; i < FRONT_DEVICES_MAX; i++)
        if (port == &front.devices[i].port && front.devices[i].open) return &front.devices[i];
    return NULL;
}

static front_device *listed(const char *id) {
    for (int i = 0; id != NULL && i < FRONT_DEVICES_MAX; i++)
        if (front.devices[i].listed && strcmp(front.devices[i].info.id, id) == 0)
            return &front.devices[i];
    return NULL;
}

/* ---- library ---- */

GC_ERROR GCInitLib(void) {
    pthread_mutex_lock(&front.lock);
    GC_ERROR result = GC_ERR_SUCCESS;
    if (front.initialised) {
        result = front_fail(GC_ERR_RESOURCE_IN_USE, "GCInitLib was called already");
    } else {
        Dl_info self;
        if (dladdr(&front, &self) && self.dli_fname)
            snprintf(front.path, sizeof front.path, "%s", self.dli_fname);
        for (int i = 0; i < FRONT_DEVICES_MAX; i++) {
            memset(&front.devices[i], 0, sizeof front.devices[i]);
            front_stream_init(&front.devices[i].stream);
        }
        result = front_the_backend.init();
        front.initialised = result == GC_ERR_SUCCESS;
    }
    pthread_mutex_unlock(&front.lock);
    return result;
}

/* A consumer may close the library with all kinds of things still open. */
static void close_device(front_device *device) {
    if (!device->open) return;
    front_stream_shut(device);
    front_the_backend.close(device->camera);
    device->camera = NULL;
    device->open = false;
}

GC_ERROR GCCloseLib(void) {
    pthread_mutex_lock(&front.lock);
    if (!front.initialised) {
        pthread_mutex_unlock(&front.lock);
        return front_fail(GC_ERR_NOT_INITIALIZED, "GCInitLib was not called");
    }
    for (int i = 0; i < FRONT_DEVICES_MAX; i++) close_device(&front.devices[i]);
    front.tl_open = front.if_open = front.initialised = false;
    front_the_backend.exit();
    pthread_mutex_unlock(&front.lock);
    return GC_ERR_SUCCESS;
}

GC_ERROR GCGetInfo(int32_t what, INFO_TYPE *type, void *buffer, size_t *size) {
    const char *name = strrchr(front.path, '/');
    switch (what) {
    case TL_ID: return front_put_string(front.path, type, buffer, size);
    case TL_VENDOR: return front_put_string(front_the_backend.vendor, type, buffer, size);
    case TL_MODEL: return front_put_string(front_the_backend.model, type, buffer, size);
    case TL_VERSION: return front_put_string("1.0", type, buffer, size);
    case TL_TLTYPE: return front_put_string(front_the_backend.tl_type, type, buffer, size);
    case TL_NAME: return front_put_string(name ? name + 1 : front.path, type, buffer, size);
    case TL_PATHNAME: return front_put_string(front.path, type, buffer, size);
    case TL_DISPLAYNAME: return front_put_string(front_the_backend.name, type, buffer, size);
    case TL_CHAR_ENCODING: return front_put_i32(1 /* UTF-8 */, type, buffer, size);
    case TL_GENTL_MAJOR: return front_put_u32(1, type, buffer, size);
    case TL_GENTL_MINOR: return front_put_u32(5, type, buffer, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown library information");
    }
}

/* ---- system ---- */

#define NEED_TL(tl)                                                                            \
    if ((tl) != FRONT_TL || !front.tl_open)                                                    \
        return front_fail(GC_ERR_INVALID_HANDLE, "not an open system")

GC_ERROR TLOpen(TL_HANDLE *tl) {
    if (!tl) return front_fail(GC_ERR_INVALID_PARAMETER, "no place for the handle");
    if (!front.initialised) return front_fail(GC_ERR_NOT_INITIALIZED, "GCInitLib was not called");
    pthread_mutex_lock(&front.lock);
    bool taken = front.tl_open;
    front.tl_open = true;
    pthread_mutex_unlock(&front.lock);
    if (taken) return front_fail(GC_ERR_RESOURCE_IN_USE, "the system is open already");
    *tl = FRONT_TL;
    return GC_ERR_SUCCESS;
}

GC_ERROR TLClose(TL_HANDLE tl) {
    NEED_TL(tl);
    if (front.if_open) IFClose(FRONT_IF);
    front.tl_open = false;
    return GC_ERR_SUCCESS;
}

GC_ERROR TLGetInfo(TL_HANDLE tl, int32_t what, INFO_TYPE *type, void *buffer, size_t *size) {
    NEED_TL(tl);
    return GCGetInfo(what, type, buffer, size);
}

GC_ERROR TLUpdateInterfaceList(TL_HANDLE tl, bool8_t *changed, uint64_t timeout_ms) {
    (void)timeout_ms;
    NEED_TL(tl);
    if (changed) *changed = 0;
    return GC_ERR_SUCCESS;
}

GC_ERROR TLGetNumInterfaces(TL_HANDLE tl, uint32_t *count) {
    NEED_TL(tl);
    *count = 1;
    return GC_ERR_SUCCESS;
}

GC_ERROR TLGetInterfaceID(TL_HANDLE tl, uint32_t index, char *id, size_t *size) {
    NEED_TL(tl);
    if (index != 0) return front_fail(GC_ERR_INVALID_INDEX, "there is one interface");
    return front_put_string(INTERFACE_ID, NULL, id, size);
}

static GC_ERROR interface_info(int32_t what, INFO_TYPE *type, void *buffer, size_t *size) {
    switch (what) {
    case IF_ID: return front_put_string(INTERFACE_ID, type, buffer, size);
    case IF_DISPLAYNAME: return front_put_string(front_the_backend.name, type, buffer, size);
    case IF_TLTYPE: return front_put_string(front_the_backend.tl_type, type, buffer, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown interface information");
    }
}

GC_ERROR TLGetInterfaceInfo(TL_HANDLE tl, const char *id, int32_t what, INFO_TYPE *type,
                            void *buffer, size_t *size) {
    NEED_TL(tl);
    if (!id || strcmp(id, INTERFACE_ID) != 0)
        return front_fail(GC_ERR_INVALID_ID, "no such interface");
    return interface_info(what, type, buffer, size);
}

GC_ERROR TLOpenInterface(TL_HANDLE tl, const char *id, IF_HANDLE *interface) {
    NEED_TL(tl);
    if (!id || strcmp(id, INTERFACE_ID) != 0)
        return front_fail(GC_ERR_INVALID_ID, "no such interface");
    if (front.if_open) return front_fail(GC_ERR_RESOURCE_IN_USE, "the interface is open already");
    front.if_open = true;
    *interface = FRONT_IF;
    return GC_ERR_SUCCESS;
}

/* ---- interface ---- */

#define NEED_IF(interface)                                                                     \
    if ((interface) != FRONT_IF || !front.if_open)                                             \
        return front_fail(GC_ERR_INVALID_HANDLE, "not an open interface")

GC_ERROR IFClose(IF_HANDLE interface) {
    NEED_IF(interface);
    pthread_mutex_lock(&front.lock);
    for (int i = 0; i < FRONT_DEVICES_MAX; i++) close_device(&front.devices[i]);
    front.if_open = false;
    pthread_mutex_unlock(&front.lock);
    return GC_ERR_SUCCESS;
}

GC_ERROR IFGetInfo(IF_HANDLE interface, int32_t what, INFO_TYPE *type, void *buffer,
                   size_t *size) {
    NEED_IF(interface);
    return interface_info(what, type, buffer, size);
}

/* An entry is never moved while its device is open, so a camera keeps the slot it was found in. */
GC_ERROR IFUpdateDeviceList(IF_HANDLE interface, bool8_t *changed, uint64_t timeout_ms) {
    (void)timeout_ms;
    NEED_IF(interface);
    front_device_info found[FRONT_DEVICES_MAX];
    memset(found, 0, sizeof found);
    pthread_mutex_lock(&front.lock);
    int count = front_the_backend.scan(found);
    bool differs = false, was[FRONT_DEVICES_MAX];
    for (int i = 0; i < FRONT_DEVICES_MAX; i++) {
        was[i] = front.devices[i].listed;
        front.devices[i].listed = false;
    }
    for (int k = 0; k < count; k++) {
        int slot = -1;
        for (int i = 0; i < FRONT_DEVICES_MAX; i++)
            if (strcmp(front.devices[i].info.id, found[k].id) == 0) slot = i;
        bool known = slot >= 0;
        for (int i = 0; slot < 0 && i < FRONT_DEVICES_MAX; i++)
            if (!front.devices[i].open && !front.devices[i].listed && !was[i]) slot = i;
        for (int i = 0; slot < 0 && i < FRONT_DEVICES_MAX; i++)
            if (!front.devices[i].open && !front.devices[i].listed) slot = i;
        if (slot < 0) continue;
        differs |= !known || !was[slot];
        front.devices[slot].info = found[k];
        front.devices[slot].listed = true;
    }
    for (int i = 0; i < FRONT_DEVICES_MAX; i++) differs |= was[i] && !front.devices[i].listed;
    pthread_mutex_unlock(&front.lock);
    if (changed) *changed = differs;
    return GC_ERR_SUCCESS;
}

GC_ERROR IFGetNumDevices(IF_HANDLE interface, uint32_t *count) {
    NEED_IF(interface);
    *count = 0;
    for (int i = 0; i < FRONT_DEVICES_MAX; i++) *count += front.devices[i].listed;
    return GC_ERR_SUCCESS;
}

GC_ERROR IFGetDeviceID(IF_HANDLE interface, uint32_t index, char *id, size_t *size) {
    NEED_IF(interface);
    for (int i = 0; i < FRONT_DEVICES_MAX; i++)
        if (front.devices[i].listed && index-- == 0)
            return front_put_string(front.devices[i].info.id, NULL, id, size);
    return front_fail(GC_ERR_INVALID_INDEX, "no such device");
}

GC_ERROR IFGetDeviceInfo(IF_HANDLE interface, const char *id, int32_t what, INFO_TYPE *type,
                         void *buffer, size_t *size) {
    NEED_IF(interface);
    front_device *device = listed(id);
    if (!device) return front_fail(GC_ERR_INVALID_ID, "no such device");
    return front_put_device(device, what, type, buffer, size);
}

GC_ERROR IFOpenDevice(IF_HANDLE interface, const char *id, int32_t access, DEV_HANDLE *handle) {
    (void)access;
    NEED_IF(interface);
    pthread_mutex_lock(&front.lock);
    front_device *device = listed(id);
    GC_ERROR result = GC_ERR_SUCCESS;
    if (!device)
        result = front_fail(GC_ERR_INVALID_ID, "no such device");
    else if (device->open)
        result = front_fail(GC_ERR_RESOURCE_IN_USE, "the device is open already");
    else if ((result = front_the_backend.open(id, &device->camera)) != GC_ERR_SUCCESS)
        front_fail(result, "the camera cannot be opened");
    else {
        device->open = true;
        *handle = device;
    }
    pthread_mutex_unlock(&front.lock);
    return result;
}

GC_ERROR IFGetParentTL(IF_HANDLE interface, TL_HANDLE *tl) {
    NEED_IF(interface);
    *tl = FRONT_TL;
    return GC_ERR_SUCCESS;
}

/* ---- device ---- */

#define NEED_DEVICE(device, handle)                                                            \
    front_device *device = front_device_of(handle);                                            \
    if (!device) return front_fail(GC_ERR_INVALID_HANDLE, "not an open device")

GC_ERROR DevClose(DEV_HANDLE handle) {
    pthread_mutex_lock(&front.lock);
    front_device *device = front_device_of(handle);
    if (device) close_device(device);
    pthread_mutex_unlock(&front.lock);
    return device ? GC_ERR_SUCCESS : front_fail(GC_ERR_INVALID_HANDLE, "not an open device");
}

GC_ERROR DevGetInfo(DEV_HANDLE handle, int32_t what, INFO_TYPE *type, void *buffer,
                    size_t *size) {
    NEED_DEVICE(device, handle);
    return front_put_device(device, what, type, buffer, size);
}

GC_ERROR DevGetPort(DEV_HANDLE handle, PORT_HANDLE *port) {
    NEED_DEVICE(device, handle);
    *port = &device->port;
    return GC_ERR_SUCCESS;
}

GC_ERROR DevGetNumDataStreams(DEV_HANDLE handle, uint32_t *count) {
    NEED_DEVICE(device, handle);
    (void)device;
    *count = 1;
    return GC_ERR_SUCCESS;
}

GC_ERROR DevGetDataStreamID(DEV_HANDLE handle, uint32_t index, char *id, size_t *size) {
    NEED_DEVICE(device, handle);
    (void)device;
    if (index != 0) return front_fail(GC_ERR_INVALID_INDEX, "there is one stream");
    return front_put_string(STREAM_ID, NULL, id, size);
}

GC_ERROR DevOpenDataStream(DEV_HANDLE handle, const char *id, DS_HANDLE *stream) {
    NEED_DEVICE(device, handle);
    if (!id || strcmp(id, STREAM_ID) != 0) return front_fail(GC_ERR_INVALID_ID, "no such stream");
    if (device->stream.open)
        return front_fail(GC_ERR_RESOURCE_IN_USE, "the stream is open already");
    front_stream_init(&device->stream);
    device->stream.open = true;
    *stream = &device->stream;
    return GC_ERR_SUCCESS;
}

GC_ERROR DevGetParentIF(DEV_HANDLE handle, IF_HANDLE *interface) {
    NEED_DEVICE(device, handle);
    (void)device;
    *interface = FRONT_IF;
    return GC_ERR_SUCCESS;
}
