/* Info answers, the last error, and the ports through which registers and XML are read. */
#include <stdio.h>
#include <string.h>

#include "front_internal.h"

/* ---- last error, kept per thread as the standard wants it ---- */

static __thread GC_ERROR last_code;
static __thread char last_text[200];

GC_ERROR front_fail(GC_ERROR code, const char *text) {
    last_code = code;
    snprintf(last_text, sizeof last_text, "%s", text);
    return code;
}

GC_ERROR GCGetLastError(GC_ERROR *code, char *text, size_t *size) {
    if (code) *code = last_code;
    return front_put_string(last_code ? last_text : "No Error", NULL, text, size);
}

/* ---- answers ---- */

GC_ERROR front_put(INFO_TYPE is, const void *value, size_t bytes, INFO_TYPE *type, void *buffer,
                   size_t *size) {
    if (!size) return front_fail(GC_ERR_INVALID_PARAMETER, "no size given");
    if (type) *type = is;
    if (buffer) {
        if (*size < bytes) return front_fail(GC_ERR_BUFFER_TOO_SMALL, "too little room");
        memcpy(buffer, value, bytes);
    }
    *size = bytes;
    return GC_ERR_SUCCESS;
}

GC_ERROR front_put_string(const char *text, INFO_TYPE *type, void *buffer, size_t *size) {
    return front_put(INFO_STRING, text, strlen(text) + 1, type, buffer, size);
}

GC_ERROR front_put_i32(int32_t value, INFO_TYPE *type, void *buffer, size_t *size) {
    return front_put(INFO_INT32, &value, sizeof value, type, buffer, size);
}

GC_ERROR front_put_u32(uint32_t value, INFO_TYPE *type, void *buffer, size_t *size) {
    return front_put(INFO_UINT32, &value, sizeof value, type, buffer, size);
}

GC_ERROR front_put_u64(uint64_t value, INFO_TYPE *type, void *buffer, size_t *size) {
    return front_put(INFO_UINT64, &value, sizeof value, type, buffer, size);
}

GC_ERROR front_put_size(size_t value, INFO_TYPE *type, void *buffer, size_t *size) {
    return front_put(INFO_SIZET, &value, sizeof value, type, buffer, size);
}

GC_ERROR front_put_bool(bool value, INFO_TYPE *type, void *buffer, size_t *size) {
    bool8_t byte = value;
    return front_put(INFO_BOOL8, &byte, sizeof byte, type, buffer, size);
}

GC_ERROR front_put_ptr(void *value, INFO_TYPE *type, void *buffer, size_t *size) {
    return front_put(INFO_PTR, &value, sizeof value, type, buffer, size);
}

GC_ERROR front_put_device(const front_device *device, int32_t what, INFO_TYPE *type,
                          void *buffer, size_t *size) {
    const front_device_info *info = &device->info;
    char shown[sizeof info->vendor + sizeof info->model + sizeof info->serial + 8];
    int access = info->access ? info->access : ACCESS_READWRITE;
    switch (what) {
    case DEV_ID: return front_put_string(info->id, type, buffer, size);
    case DEV_VENDOR: return front_put_string(info->vendor, type, buffer, size);
    case DEV_MODEL: return front_put_string(info->model, type, buffer, size);
    case DEV_TLTYPE: return front_put_string(info->tl_type, type, buffer, size);
    case DEV_DISPLAYNAME:
        snprintf(shown, sizeof shown, "%s %s (%s)", info->vendor, info->model, info->serial);
        return front_put_string(shown, type, buffer, size);
    case DEV_ACCESS_STATUS:
        if (device->open)
            access = front_the_backend.access ? front_the_backend.access(device->camera)
                                              : ACCESS_OPEN_READWRITE;
        return front_put_i32(access, type, buffer, size);
    case DEV_USER_NAME: return front_put_string(info->user_id, type, buffer, size);
    case DEV_SERIAL: return front_put_string(info->serial, type, buffer, size);
    case DEV_VERSION: return front_put_string(info->version, type, buffer, size);
    case DEV_TICK_FREQUENCY:
        if (!info->tick_hz) return front_fail(GC_ERR_NOT_AVAILABLE, "tick frequency not known");
        return front_put_u64(info->tick_hz, type, buffer, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown device information");
    }
}

/* ---- ports ----
 *
 * Each module is a port of its own with an XML. Only the camera's is worth having; those of the
 * software modules hold one register, so that a consumer that asks for them finds a valid file.
 */

#define XML_BASE 0x5000000000000000ull /* far from any register of a real camera */

typedef struct {
    const char *module, *name;
    front_device *device; /* of the remote port and of nothing else */
    const char *xml;
    size_t xml_size;
} port_view;

static const char MODULE_XML[] =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
    "<RegisterDescription ModelName=\"Module\" VendorName=\"rtface\" ToolTip=\"Software module\" "
    "StandardNameSpace=\"None\" SchemaMajorVersion=\"1\" SchemaMinorVersion=\"1\" "
    "SchemaSubMinorVersion=\"0\" MajorVersion=\"1\" MinorVersion=\"0\" SubMinorVersion=\"0\" "
    "ProductGuid=\"5b1f6f0e-52c7-4f0a-9d3e-0c4be1a70001\" "
    "VersionGuid=\"5b1f6f0e-52c7-4f0a-9d3e-0c4be1a70002\" "
    "xmlns=\"http://www.genicam.org/GenApi/Version_1_1\" "
    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
    "xsi:schemaLocation=\"http://www.genicam.org/GenApi/Version_1_1 GenApiSchema.xsd\">\n"
    "<Category Name=\"Root\"><pFeature>ModuleVersion</pFeature></Category>\n"
    "<IntReg Name=\"ModuleVersion\"><Address>0</Address><Length>8</Length>"
    "<AccessMode>RO</AccessMode><pPort>%s</pPort><Sign>Unsigned</Sign>"
    "<Endianess>LittleEndian</Endianess></IntReg>\n"
    "<Port Name=\"%s\"/>\n"
    "</RegisterDescription>\n";

/* Fill in `view`; `scratch` receives the text of a software module's XML. */
static bool look_at(PORT_HANDLE port, port_view *view, char *scratch, size_t room) {
    memset(view, 0, sizeof *view);
    if (port == FRONT_TL && front.tl_open) {
        view->module = "TLSystem", view->name = "TLPort";
    } else if (port == FRONT_IF && front.if_open) {
        view->module = "TLInterface", view->name = "InterfacePort";
    } else if (front_device_of(port)) {
        view->module = "TLDevice", view->name = "DevicePort";
    } else if (front_device_of_stream(port)) {
        view->module = "TLDataStream", view->name = "StreamPort";
    } else if ((view->device = front_device_of_port(port))) {
        view->module = "Device", view->name = "Device";
        view->xml = front_the_backend.xml(view->device->camera, &view->xml_size);
        return true;
    } else {
        return false;
    }
    view->xml_size = (size_t)snprintf(scratch, room, MODULE_XML, view->name, view->name);
    view->xml = scratch;
    return true;
}

#define NEED_PORT(port)                                                                        \
    char scratch[sizeof MODULE_XML + 64];                                                      \
    port_view view;                                                                            \
    if (!look_at(port, &view, scratch, sizeof scratch))                                        \
        return front_fail(GC_ERR_INVALID_HANDLE, "not an open port")

GC_ERROR GCReadPort(PORT_HANDLE port, uint64_t address, void *data, size_t *size) {
    NEED_PORT(port);
    if (!data || !size) return front_fail(GC_ERR_INVALID_PARAMETER, "no place for the data");
    uint64_t end = XML_BASE + view.xml_size;
    if (address >= XML_BASE && address < end) {
        if (*size > end - address) *size = end - address;
        memcpy(data, view.xml + (address - XML_BASE), *size);
        return GC_ERR_SUCCESS;
    }
    if (!view.device) { /* ModuleVersion */
        memset(data, 0, *size);
        return GC_ERR_SUCCESS;
    }
    GC_ERROR result = front_the_backend.read(view.device->camera, address, data, *size);
    return result ? front_fail(result, "the camera's register cannot be read") : result;
}

GC_ERROR GCWritePort(PORT_HANDLE port, uint64_t address, const void *data, size_t *size) {
    NEED_PORT(port);
    if (!data || !size) return front_fail(GC_ERR_INVALID_PARAMETER, "no data");
    if (!view.device) return front_fail(GC_ERR_ACCESS_DENIED, "this module has nothing to set");
    GC_ERROR result = front_the_backend.write(view.device->camera, address, data, *size);
    return result ? front_fail(result, "the camera's register cannot be written") : result;
}

GC_ERROR GCReadPortStacked(PORT_HANDLE port, PORT_ACCESS *list, size_t *count) {
    for (size_t i = 0, n = *count; i < n; i++) {
        GC_ERROR result = GCReadPort(port, list[i].address, list[i].data, &list[i].size);
        *count = i + (result == GC_ERR_SUCCESS);
        if (result != GC_ERR_SUCCESS) return result;
    }
    return GC_ERR_SUCCESS;
}

GC_ERROR GCWritePortStacked(PORT_HANDLE port, PORT_ACCESS *list, size_t *count) {
    for (size_t i = 0, n = *count; i < n; i++) {
        GC_ERROR result = GCWritePort(port, list[i].address, list[i].data, &list[i].size);
        *count = i + (result == GC_ERR_SUCCESS);
        if (result != GC_ERR_SUCCESS) return result;
    }
    return GC_ERR_SUCCESS;
}

static void url_of(const port_view *view, char *url, size_t room) {
    snprintf(url, room, "local:%s_%s.xml;%llX;%zX", front_the_backend.model, view->module,
             XML_BASE, view->xml_size);
}

GC_ERROR GCGetNumPortURLs(PORT_HANDLE port, uint32_t *count) {
    NEED_PORT(port);
    *count = 1;
    return GC_ERR_SUCCESS;
}

GC_ERROR GCGetPortURL(PORT_HANDLE port, char *text, size_t *size) {
    NEED_PORT(port);
    char url[200];
    url_of(&view, url, sizeof url);
    return front_put_string(url, NULL, text, size);
}

GC_ERROR GCGetPortURLInfo(PORT_HANDLE port, uint32_t index, int32_t what, INFO_TYPE *type,
                          void *buffer, size_t *size) {
    NEED_PORT(port);
    if (index != 0) return front_fail(GC_ERR_INVALID_INDEX, "there is one URL");
    char url[200];
    switch (what) {
    case URL_URL:
        url_of(&view, url, sizeof url);
        return front_put_string(url, type, buffer, size);
    case URL_SCHEMA_MAJOR:
    case URL_SCHEMA_MINOR:
    case URL_FILE_MAJOR: return front_put_i32(1, type, buffer, size);
    case URL_FILE_MINOR:
    case URL_FILE_SUBMINOR: return front_put_i32(0, type, buffer, size);
    case URL_FILE_ADDRESS: return front_put_u64(XML_BASE, type, buffer, size);
    case URL_FILE_SIZE: return front_put_u64(view.xml_size, type, buffer, size);
    case URL_SCHEME: return front_put_i32(SCHEME_LOCAL, type, buffer, size);
    case URL_FILENAME:
        snprintf(url, sizeof url, "%s_%s.xml", front_the_backend.model, view.module);
        return front_put_string(url, type, buffer, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown URL information");
    }
}

GC_ERROR GCGetPortInfo(PORT_HANDLE port, int32_t what, INFO_TYPE *type, void *buffer,
                       size_t *size) {
    NEED_PORT(port);
    switch (what) {
    case PORT_ID:
    case PORT_MODULE: return front_put_string(view.module, type, buffer, size);
    case PORT_VENDOR: return front_put_string(front_the_backend.vendor, type, buffer, size);
    case PORT_MODEL: return front_put_string(front_the_backend.model, type, buffer, size);
    case PORT_TLTYPE: return front_put_string(front_the_backend.tl_type, type, buffer, size);
    case PORT_LITTLE_ENDIAN:
    case PORT_ACCESS_READ: return front_put_bool(true, type, buffer, size);
    case PORT_ACCESS_WRITE: return front_put_bool(view.device != NULL, type, buffer, size);
    case PORT_BIG_ENDIAN:
    case PORT_ACCESS_NA:
    case PORT_ACCESS_NI: return front_put_bool(false, type, buffer, size);
    case PORT_VERSION: return front_put_string("1.0", type, buffer, size);
    case PORT_NAME: return front_put_string(view.name, type, buffer, size);
    default: return front_fail(GC_ERR_NOT_IMPLEMENTED, "unknown port information");
    }
}
