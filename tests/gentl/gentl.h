/* The part of the GenTL C interface that the producers in this folder offer.
 *
 * These are our own declarations of the facts a consumer relies on: the names of the functions,
 * the order and width of their arguments, and the numbers of error codes and commands. Commands
 * that no consumer of ours asks for are left out; an unknown command is answered with
 * GC_ERR_NOT_IMPLEMENTED.
 *
 * Every "info" function has the same tail (type, buffer, size): with buffer NULL it only reports
 * the size needed, otherwise *size says how much room there is and comes back as what was used.
 */
#ifndef RTFACE_GENTL_H
#define RTFACE_GENTL_H

#include <stddef.h>
#include <stdint.h>

#define GENTL_API __attribute__((visibility("default")))

typedef int32_t GC_ERROR;
typedef uint8_t bool8_t;
typedef int32_t INFO_TYPE;

/* A handle is opaque to the consumer; the front checks each one before it looks behind it. */
typedef void *TL_HANDLE;
typedef void *IF_HANDLE;
typedef void *DEV_HANDLE;
typedef void *DS_HANDLE;
typedef void *PORT_HANDLE;
typedef void *BUFFER_HANDLE;
typedef void *EVENTSRC_HANDLE;
typedef void *EVENT_HANDLE;

enum {
    GC_ERR_SUCCESS = 0,
    GC_ERR_ERROR = -1001,
    GC_ERR_NOT_INITIALIZED = -1002,
    GC_ERR_NOT_IMPLEMENTED = -1003,
    GC_ERR_RESOURCE_IN_USE = -1004,
    GC_ERR_ACCESS_DENIED = -1005,
    GC_ERR_INVALID_HANDLE = -1006,
    GC_ERR_INVALID_ID = -1007,
    GC_ERR_NO_DATA = -1008,
    GC_ERR_INVALID_PARAMETER = -1009,
    GC_ERR_IO = -1010,
    GC_ERR_TIMEOUT = -1011,
    GC_ERR_ABORT = -1012,
    GC_ERR_INVALID_BUFFER = -1013,
    GC_ERR_NOT_AVAILABLE = -1014,
    GC_ERR_INVALID_ADDRESS = -1015,
    GC_ERR_BUFFER_TOO_SMALL = -1016,
    GC_ERR_INVALID_INDEX = -1017,
    GC_ERR_INVALID_VALUE = -1019,
    GC_ERR_OUT_OF_MEMORY = -1021,
    GC_ERR_BUSY = -1022
};

/* What an info function says it wrote. */
enum {
    INFO_STRING = 1,
    INFO_INT32 = 5,
    INFO_UINT32 = 6,
    INFO_UINT64 = 8,
    INFO_PTR = 10,
    INFO_BOOL8 = 11,
    INFO_SIZET = 12
};

enum { /* TLGetInfo, GCGetInfo */
    TL_ID, TL_VENDOR, TL_MODEL, TL_VERSION, TL_TLTYPE, TL_NAME, TL_PATHNAME, TL_DISPLAYNAME,
    TL_CHAR_ENCODING, TL_GENTL_MAJOR, TL_GENTL_MINOR
};

enum { IF_ID, IF_DISPLAYNAME, IF_TLTYPE }; /* IFGetInfo, TLGetInterfaceInfo */

enum { /* DevGetInfo, IFGetDeviceInfo */
    DEV_ID, DEV_VENDOR, DEV_MODEL, DEV_TLTYPE, DEV_DISPLAYNAME, DEV_ACCESS_STATUS, DEV_USER_NAME,
    DEV_SERIAL, DEV_VERSION, DEV_TICK_FREQUENCY
};

enum { /* value of DEV_ACCESS_STATUS */
    ACCESS_UNKNOWN, ACCESS_READWRITE, ACCESS_READONLY, ACCESS_NOACCESS, ACCESS_BUSY,
    ACCESS_OPEN_READWRITE, ACCESS_OPEN_READONLY
};

enum { /* DSGetInfo */
    DS_ID, DS_NUM_DELIVERED, DS_NUM_UNDERRUN, DS_NUM_ANNOUNCED, DS_NUM_QUEUED, DS_NUM_AWAITING,
    DS_NUM_STARTED, DS_PAYLOAD_SIZE, DS_IS_GRABBING, DS_DEFINES_PAYLOAD, DS_TLTYPE,
    DS_NUM_CHUNKS_MAX, DS_ANNOUNCE_MIN, DS_ALIGNMENT
};

enum { /* DSGetBufferInfo */
    BUF_BASE, BUF_SIZE, BUF_USER_PTR, BUF_TIMESTAMP, BUF_NEW_DATA, BUF_IS_QUEUED,
    BUF_IS_ACQUIRING, BUF_IS_INCOMPLETE, BUF_TLTYPE, BUF_SIZE_FILLED, BUF_WIDTH, BUF_HEIGHT,
    BUF_XOFFSET, BUF_YOFFSET, BUF_XPADDING, BUF_YPADDING, BUF_FRAMEID, BUF_IMAGE_PRESENT,
    BUF_IMAGE_OFFSET, BUF_PAYLOAD_TYPE, BUF_PIXEL_FORMAT, BUF_PIXEL_NAMESPACE,
    BUF_DELIVERED_HEIGHT, BUF_CHUNK_PAYLOAD, BUF_CHUNK_LAYOUT, BUF_FILENAME, BUF_ENDIANNESS,
    BUF_DATA_SIZE, BUF_TIMESTAMP_NS, BUF_TOO_LARGE, BUF_HAS_CHUNKS, BUF_IS_COMPOSITE
};

enum { PAYLOAD_IMAGE = 1 };           /* value of BUF_PAYLOAD_TYPE */
enum { NAMESPACE_PFNC_32BIT = 4 };    /* value of BUF_PIXEL_NAMESPACE */
enum { PIXELS_LITTLE_ENDIAN = 1 };    /* value of BUF_ENDIANNESS */

enum { /* GCGetPortInfo */
    PORT_ID, PORT_VENDOR, PORT_MODEL, PORT_TLTYPE, PORT_MODULE, PORT_LITTLE_ENDIAN,
    PORT_BIG_ENDIAN, PORT_ACCESS_READ, PORT_ACCESS_WRITE, PORT_ACCESS_NA, PORT_ACCESS_NI,
    PORT_VERSION, PORT_NAME
};

enum { /* GCGetPortURLInfo */
    URL_URL, URL_SCHEMA_MAJOR, URL_SCHEMA_MINOR, URL_FILE_MAJOR, URL_FILE_MINOR,
    URL_FILE_SUBMINOR, URL_FILE_SHA1, URL_FILE_ADDRESS, URL_FILE_SIZE, URL_SCHEME, URL_FILENAME
};
enum { SCHEME_LOCAL = 0 }; /* value of URL_SCHEME: read the file through the port */

enum { /* DSFlushQueue */
    FLUSH_INPUT_TO_OUTPUT, FLUSH_OUTPUT_DISCARD, FLUSH_ALL_TO_INPUT, FLUSH_UNQUEUED_TO_INPUT,
    FLUSH_ALL_DISCARD
};

enum { EVENT_NEW_BUFFER = 1 };                                        /* GCRegisterEvent */
enum { EVENT_TYPE_OF, EVENT_IN_QUEUE, EVENT_FIRED, EVENT_SIZE, EVENT_INFO_SIZE }; /* EventGetInfo */
enum { EVENT_DATA_ID, EVENT_DATA_VALUE, EVENT_DATA_NUMID };           /* EventGetDataInfo */

#define GENTL_FOREVER UINT64_MAX /* a timeout in milliseconds; also "no end" of an acquisition */

#pragma pack(push, 1)
typedef struct { /* what EventGetData writes for EVENT_NEW_BUFFER */
    BUFFER_HANDLE buffer;
    void *user;
} EVENT_NEW_BUFFER_DATA;

typedef struct { /* one entry of DSGetBufferChunkData; the offset counts from the buffer's base */
    uint64_t id;
    ptrdiff_t offset;
    size_t length;
} SINGLE_CHUNK_DATA;

typedef struct { /* one access of GCReadPortStacked and GCWritePortStacked */
    uint64_t address;
    void *data;
    size_t size;
} PORT_ACCESS;
#pragma pack(pop)

GENTL_API GC_ERROR GCInitLib(void);
GENTL_API GC_ERROR GCCloseLib(void);
GENTL_API GC_ERROR GCGetInfo(int32_t what, INFO_TYPE *type, void *buffer, size_t *size);
GENTL_API GC_ERROR GCGetLastError(GC_ERROR *code, char *text, size_t *size);
GENTL_API GC_ERROR GCReadPort(PORT_HANDLE port, uint64_t address, void *data, size_t *size);
GENTL_API GC_ERROR GCWritePort(PORT_HANDLE port, uint64_t address, const void *data,
                               size_t *size);
GENTL_API GC_ERROR GCReadPortStacked(PORT_HANDLE port, PORT_ACCESS *list, size_t *count);
GENTL_API GC_ERROR GCWritePortStacked(PORT_HANDLE port, PORT_ACCESS *list, size_t *count);
GENTL_API GC_ERROR GCGetPortURL(PORT_HANDLE port, char *url, size_t *size);
GENTL_API GC_ERROR GCGetNumPortURLs(PORT_HANDLE port, uint32_t *count);
GENTL_API GC_ERROR GCGetPortURLInfo(PORT_HANDLE port, uint32_t index, int32_t what,
                                    INFO_TYPE *type, void *buffer, size_t *size);
GENTL_API GC_ERROR GCGetPortInfo(PORT_HANDLE port, int32_t what, INFO_TYPE *type, void *buffer,
                                 size_t *size);
GENTL_API GC_ERROR GCRegisterEvent(EVENTSRC_HANDLE source, int32_t kind, EVENT_HANDLE *event);
GENTL_API GC_ERROR GCUnregisterEvent(EVENTSRC_HANDLE source, int32_t kind);

GENTL_API GC_ERROR EventGetData(EVENT_HANDLE event, void *buffer, size_t *size,
                                uint64_t timeout_ms);
GENTL_API GC_ERROR EventGetDataInfo(EVENT_HANDLE event, const void *data, size_t data_size,
                                    int32_t what, INFO_TYPE *type, void *buffer, size_t *size);
GENTL_API GC_ERROR EventGetInfo(EVENT_HANDLE event, int32_t what, INFO_TYPE *type, void *buffer,
                                size_t *size);
GENTL_API GC_ERROR EventFlush(EVENT_HANDLE event);
GENTL_API GC_ERROR EventKill(EVENT_HANDLE event);

GENTL_API GC_ERROR TLOpen(TL_HANDLE *tl);
GENTL_API GC_ERROR TLClose(TL_HANDLE tl);
GENTL_API GC_ERROR TLGetInfo(TL_HANDLE tl, int32_t what, INFO_TYPE *type, void *buffer,
                             size_t *size);
GENTL_API GC_ERROR TLUpdateInterfaceList(TL_HANDLE tl, bool8_t *changed, uint64_t timeout_ms);
GENTL_API GC_ERROR TLGetNumInterfaces(TL_HANDLE tl, uint32_t *count);
GENTL_API GC_ERROR TLGetInterfaceID(TL_HANDLE tl, uint32_t index, char *id, size_t *size);
GENTL_API GC_ERROR TLGetInterfaceInfo(TL_HANDLE tl, const char *id, int32_t what, INFO_TYPE *type,
                                      void *buffer, size_t *size);
GENTL_API GC_ERROR TLOpenInterface(TL_HANDLE tl, const char *id, IF_HANDLE *interface);

GENTL_API GC_ERROR IFClose(IF_HANDLE interface);
GENTL_API GC_ERROR IFGetInfo(IF_HANDLE interface, int32_t what, INFO_TYPE *type, void *buffer,
                             size_t *size);
GENTL_API GC_ERROR IFUpdateDeviceList(IF_HANDLE interface, bool8_t *changed, uint64_t timeout_ms);
GENTL_API GC_ERROR IFGetNumDevices(IF_HANDLE interface, uint32_t *count);
GENTL_API GC_ERROR IFGetDeviceID(IF_HANDLE interface, uint32_t index, char *id, size_t *size);
GENTL_API GC_ERROR IFGetDeviceInfo(IF_HANDLE interface, const char *id, int32_t what,
                                   INFO_TYPE *type, void *buffer, size_t *size);
GENTL_API GC_ERROR IFOpenDevice(IF_HANDLE interface, const char *id, int32_t access,
                                DEV_HANDLE *device);
GENTL_API GC_ERROR IFGetParentTL(IF_HANDLE interface, TL_HANDLE *tl);

GENTL_API GC_ERROR DevClose(DEV_HANDLE device);
GENTL_API GC_ERROR DevGetInfo(DEV_HANDLE device, int32_t what, INFO_TYPE *type, void *buffer,
                              size_t *size);
GENTL_API GC_ERROR DevGetPort(DEV_HANDLE device, PORT_HANDLE *port);
GENTL_API GC_ERROR DevGetNumDataStreams(DEV_HANDLE device, uint32_t *count);
GENTL_API GC_ERROR DevGetDataStreamID(DEV_HANDLE device, uint32_t index, char *id, size_t *size);
GENTL_API GC_ERROR DevOpenDataStream(DEV_HANDLE device, const char *id, DS_HANDLE *stream);
GENTL_API GC_ERROR DevGetParentIF(DEV_HANDLE device, IF_HANDLE *interface);

GENTL_API GC_ERROR DSClose(DS_HANDLE stream);
GENTL_API GC_ERROR DSGetInfo(DS_HANDLE stream, int32_t what, INFO_TYPE *type, void *buffer,
                             size_t *size);
GENTL_API GC_ERROR DSAnnounceBuffer(DS_HANDLE stream, void *memory, size_t size, void *user,
                                    BUFFER_HANDLE *buffer);
GENTL_API GC_ERROR DSAllocAndAnnounceBuffer(DS_HANDLE stream, size_t size, void *user,
                                            BUFFER_HANDLE *buffer);
GENTL_API GC_ERROR DSRevokeBuffer(DS_HANDLE stream, BUFFER_HANDLE buffer, void **memory,
                                  void **user);
GENTL_API GC_ERROR DSQueueBuffer(DS_HANDLE stream, BUFFER_HANDLE buffer);
GENTL_API GC_ERROR DSGetBufferID(DS_HANDLE stream, uint32_t index, BUFFER_HANDLE *buffer);
GENTL_API GC_ERROR DSGetBufferInfo(DS_HANDLE stream, BUFFER_HANDLE buffer, int32_t what,
                                   INFO_TYPE *type, void *out, size_t *size);
GENTL_API GC_ERROR DSGetBufferChunkData(DS_HANDLE stream, BUFFER_HANDLE buffer,
                                        SINGLE_CHUNK_DATA *list, size_t *count);
GENTL_API GC_ERROR DSGetNumBufferParts(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t *count);
GENTL_API GC_ERROR DSGetBufferPartInfo(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t part,
                                       int32_t what, INFO_TYPE *type, void *out, size_t *size);
GENTL_API GC_ERROR DSStartAcquisition(DS_HANDLE stream, int32_t flags, uint64_t frames);
GENTL_API GC_ERROR DSStopAcquisition(DS_HANDLE stream, int32_t flags);
GENTL_API GC_ERROR DSFlushQueue(DS_HANDLE stream, int32_t what);
GENTL_API GC_ERROR DSGetParentDev(DS_HANDLE stream, DEV_HANDLE *device);

#endif
