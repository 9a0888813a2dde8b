/* The GenApi description of a camera, made from a table of its nodes.
 *
 * The parser of consumers is strict about the order of elements inside a node and about empty
 * ones. All registers are NoCache, so that what one node changes in another is seen at once; that
 * is also why no node says what it invalidates or which nodes a selector selects.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { /* when a node is there */
    ALWAYS = 0, SFNC = 1, PGR = 2, STAMP = 4 /* has timestamps */, LATCH = 8 /* can be asked */
};

typedef struct {
    char kind; /* Integer, Float, Boolean, Enumeration, Command */
    const char *name;
    int reg;
    int when;
    const char *access;
    int lock; /* register that is not 0 while the node cannot be written, or 0 */
    double low, high;
    int high_reg;       /* register with the upper limit, or 0 for `high` */
    const char *extra;  /* increment, unit or the entries of an enumeration; "" for none */
} node;

#define RO "RO", 0, 0, 0, 0
#define RW "RW", 0
static const char OFF_AUTO[] = "Off=0 Once=1 Continuous=2", OFF_ON[] = "Off=0 On=1";
static const char LINES[] = "Line0=0 Line1=1 Line2=2 Line3=3";

static const node NODES[] = {
    {'I', "SensorWidth", R_SENSOR_WIDTH, ALWAYS, RO, ""},
    {'I', "SensorHeight", R_SENSOR_HEIGHT, ALWAYS, RO, ""},
    {'I', "WidthMax", R_SENSOR_WIDTH, ALWAYS, RO, ""},
    {'I', "HeightMax", R_SENSOR_HEIGHT, ALWAYS, RO, ""},
    {'I', "Width", R_WIDTH, ALWAYS, "RW", R_LOCK_STREAM, 16, 0, R_WIDTH_MAX, "4"},
    {'I', "Height", R_HEIGHT, ALWAYS, "RW", R_LOCK_STREAM, 16, 0, R_HEIGHT_MAX, "2"},
    {'I', "OffsetX", R_OFFSET_X, ALWAYS, RW, 0, 0, R_OFFSET_X_MAX, "4"},
    {'I', "OffsetY", R_OFFSET_Y, ALWAYS, RW, 0, 0, R_OFFSET_Y_MAX, "2"},
    {'I', "PayloadSize", R_PAYLOAD, ALWAYS, RO, ""},
    {'I', "TLParamsLocked", R_TL_LOCKED, ALWAYS, RW, 0, 1, 0, ""},
    {'E', "AcquisitionMode", R_ACQ_MODE, ALWAYS, RW, 0, 0, 0, "Continuous=0 SingleFrame=1"},
    {'C', "AcquisitionStart", R_START, ALWAYS, RW, 0, 0, 0, ""},
    {'C', "AcquisitionStop", R_STOP, ALWAYS, RW, 0, 0, 0, ""},
    {'B', "AcquisitionFrameRateEnable", R_RATE_ON, SFNC, RW, 0, 0, 0, ""},
    {'B', "AcquisitionFrameRateEnabled", R_RATE_ON, PGR, RW, 0, 0, 0, ""},
    {'E', "AcquisitionFrameRateAuto", R_RATE_AUTO, PGR, RW, 0, 0, 0, "Off=0 Continuous=2"},
    {'F', "AcquisitionFrameRate", R_RATE, ALWAYS, "RW", R_LOCK_RATE, 1, 0, R_RATE_MAX, "Hz"},
    {'E', "ExposureAuto", R_EXPOSURE_AUTO, ALWAYS, RW, 0, 0, 0, OFF_AUTO},
    {'E', "ExposureMode", R_EXPOSURE_MODE, ALWAYS, RW, 0, 0, 0, "Timed=0 TriggerWidth=1"},
    {'F', "ExposureTime", R_EXPOSURE, ALWAYS, "RW", R_LOCK_EXPOSURE, 10, 0, R_EXPOSURE_MAX, "us"},
    {'E', "GainAuto", R_GAIN_AUTO, ALWAYS, RW, 0, 0, 0, OFF_AUTO},
    {'F', "Gain", R_GAIN, ALWAYS, "RW", R_LOCK_GAIN, 0, 24, 0, "dB"},
    {'F', "BlackLevel", R_BLACK_LEVEL, ALWAYS, RW, 0, 10, 0, "%"},
    {'B', "GammaEnable", R_GAMMA_ON, SFNC, RW, 0, 0, 0, ""},
    {'B', "GammaEnabled", R_GAMMA_ON, PGR, RW, 0, 0, 0, ""},
    {'F', "Gamma", R_GAMMA, ALWAYS, RW, 0.25, 4, 0, ""},
    {'E', "TriggerSelector", R_TRIGGER_SELECTOR, ALWAYS, RW, 0, 0, 0, "FrameStart=0"},
    {'E', "TriggerMode", R_TRIGGER_MODE, ALWAYS, RW, 0, 0, 0, OFF_ON},
    {'E', "TriggerSource", R_TRIGGER_SOURCE, ALWAYS, "RW", R_LOCK_TRIGGER, 0, 0, 0,
     "Software=0 Line0=1 Line1=2 Line2=3 Line3=4"},
    {'E', "TriggerActivation", R_TRIGGER_ACTIVATION, ALWAYS, "RW", R_LOCK_TRIGGER, 0, 0, 0,
     "RisingEdge=0 FallingEdge=1 AnyEdge=2"},
    {'F', "TriggerDelay", R_TRIGGER_DELAY, ALWAYS, RW, 0, 1e6, 0, "us"},
    {'E', "TriggerOverlap", R_TRIGGER_OVERLAP, ALWAYS, RW, 0, 0, 0, "Off=0 ReadOut=1"},
    {'C', "TriggerSoftware", R_SOFTWARE, ALWAYS, RW, 0, 0, 0, ""},
    {'E', "LineSelector", R_LINE_SELECTOR, ALWAYS, RW, 0, 0, 0, LINES},
    {'E', "LineMode", R_LINE_MODE, ALWAYS, "RW", R_LOCK_LINE_MODE, 0, 0, 0, "Input=0 Output=1"},
    {'E', "LineSource", R_LINE_SOURCE, ALWAYS, RW, 0, 0, 0, "Off=0 ExposureActive=1"},
    {'B', "LineInverter", R_LINE_INVERTER, ALWAYS, RW, 0, 0, 0, ""},
    {'B', "LineStatus", R_LINE_STATUS, ALWAYS, RO, ""},
    {'I', "LineStatusAll", R_LINE_STATUS_ALL, ALWAYS, RO, ""},
    {'B', "StrobeEnabled", R_STROBE_ON, PGR, RW, 0, 0, 0, ""},
    {'F', "StrobeDelay", R_STROBE_DELAY, PGR, RW, 0, 1e6, 0, "us"},
    {'F', "StrobeDuration", R_STROBE_DURATION, PGR, RW, 0, 1e6, 0, "us"},
    {'B', "ChunkModeActive", R_CHUNK_MODE, ALWAYS, "RW", R_LOCK_STREAM, 0, 0, 0, ""},
    {'B', "ChunkEnable", R_CHUNK_ENABLE, ALWAYS, "RW", R_LOCK_STREAM, 0, 0, 0, ""},
    {'C', "TimestampLatch", R_LATCH, SFNC | STAMP | LATCH, RW, 0, 0, 0, ""},
    {'I', "TimestampLatchValue", R_LATCHED, SFNC | STAMP | LATCH, RO, "ns"},
    {'C', "TimestampReset", R_CLOCK_RESET, SFNC | STAMP, RW, 0, 0, 0, ""},
    {'C', "GevTimestampControlLatch", R_LATCH, PGR | STAMP | LATCH, RW, 0, 0, 0, ""},
    {'I', "GevTimestampValue", R_LATCHED_TICKS, PGR | STAMP | LATCH, RO, ""},
    {'I', "GevTimestampTickFrequency", R_TICK_HZ, PGR | STAMP, RO, "Hz"},
    {'C', "GevTimestampControlReset", R_CLOCK_RESET, PGR | STAMP, RW, 0, 0, 0, ""},
    {'F', "DeviceTemperature", R_TEMPERATURE, ALWAYS, RO, "C"},
};

static const char *const STRINGS[] = {"DeviceVendorName", "DeviceModelName", "DeviceSerialNumber",
                                      "DeviceUserID", "DeviceVersion"};

static bool present(const sim_camera *camera, const node *n) {
    bool pgr = strcmp(camera->config.names, "pgr") == 0;
    if (n->when & (SFNC | PGR) && !(n->when & (pgr ? PGR : SFNC))) return false;
    if (n->when & STAMP && !camera->config.has_timestamp) return false;
    return !(n->when & LATCH) || camera->config.latch;
}

static void entries(FILE *out, const char *name, const char *list) {
    char copy[400], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *item = strtok_r(copy, " ", &rest); item; item = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(item, '=');
        *value++ = 0;
        fprintf(out, "<EnumEntry Name=\"EnumEntry_%s_%s\"><Value>%s</Value>"
                     "<Symbolic>%s</Symbolic></EnumEntry>", name, item, value, item);
    }
}

/* The register behind a node, and where a limit or lock is itself in a register. */
static void put_register(FILE *out, char kind, const char *name, const char *suffix,
                         unsigned address, const char *access, const char *port, bool big) {
    const char *type = kind == 'F' ? "FloatReg" : "IntReg";
    fprintf(out,
            "<%s Name=\"%s%s\"><Address>0x%X</Address><Length>8</Length>"
            "<AccessMode>%s</AccessMode><pPort>%s</pPort><Cachable>NoCache</Cachable>%s"
            "<Endianess>%s</Endianess></%s>\n",
            type, name, suffix, address, access, port, kind == 'F' ? "" : "<Sign>Signed</Sign>",
            big ? "BigEndian" : "LittleEndian", type);
}

static unsigned address(int reg) {
    return SIM_REGISTER_BASE + 8u * (unsigned)reg;
}

static void put_node(FILE *out, const node *n) {
    static const char *const TAGS[] = {"Integer", "Float", "Boolean", "Enumeration", "Command"};
    const char *tag = TAGS[strchr("IFBEC", n->kind) - "IFBEC"];
    fprintf(out, "<%s Name=\"%s\">", tag, n->name);
    if (n->lock) fprintf(out, "<pIsLocked>%sLock</pIsLocked>", n->name);
    if (n->kind == 'E') entries(out, n->name, n->extra);
    fprintf(out, "<pValue>%sReg</pValue>", n->name);
    bool writable = strcmp(n->access, "RW") == 0;
    if (n->kind == 'C') fprintf(out, "<CommandValue>1</CommandValue>");
    if (n->kind == 'B') fprintf(out, "<OnValue>1</OnValue><OffValue>0</OffValue>");
    if ((n->kind == 'I' || n->kind == 'F') && writable) {
        fprintf(out, "<Min>%g</Min>", n->low);
        if (n->high_reg) fprintf(out, "<pMax>%sLimit</pMax>", n->name);
        else fprintf(out, "<Max>%.9g</Max>", n->high);
    }
    if (n->extra[0] && n->kind == 'I' && writable) fprintf(out, "<Inc>%s</Inc>", n->extra);
    else if (n->extra[0] && (n->kind == 'I' || n->kind == 'F'))
        fprintf(out, "<Unit>%s</Unit>", n->extra);
    fprintf(out, "</%s>\n", tag);
    put_register(out, n->kind, n->name, "Reg", address(n->reg), n->access, "Device", false);
    if (n->lock) put_register(out, 'I', n->name, "Lock", address(n->lock), "RO", "Device", false);
    if (n->high_reg)
        put_register(out, n->kind, n->name, "Limit", address(n->high_reg), "RO", "Device", false);
}

/* Nodes that depend on the camera: the pixel formats, and the chunks. */
static void put_variable(FILE *out, FILE *root, const sim_camera *camera) {
    char list[400];
    snprintf(list, sizeof list, "%s=%u", camera->format->name, camera->format->pfnc);
    const sim_format *mono8 = sim_format_named("Mono8");
    if (camera->format != mono8)
        snprintf(list + strlen(list), sizeof list - strlen(list), " Mono8=%u", mono8->pfnc);
    node format = {'E', "PixelFormat", R_PIXEL_FORMAT, ALWAYS, "RW", R_LOCK_STREAM, 0, 0, 0, list};
    put_node(out, &format);
    fprintf(root, "<pFeature>PixelFormat</pFeature>");

    bool pgr = strcmp(camera->config.names, "pgr") == 0;
    bool big = strcmp(camera->config.tl_type, "GEV") == 0;
    const char *names[SIM_CHUNKS] = {"Timestamp", pgr ? "FrameCounter" : "FrameID",
                                     "ExposureTime", "Gain", "LineStatusAll"};
    list[0] = 0;
    for (int c = camera->config.has_timestamp ? 0 : 1; c < SIM_CHUNKS; c++) {
        char kind = c == 2 || c == 3 ? 'F' : 'I', name[40], port[48];
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s=%d", list[0] ? " " : "",
                 names[c], c);
        snprintf(name, sizeof name, "Chunk%s", names[c]);
        snprintf(port, sizeof port, "%sPort", name);
        fprintf(out, "<%s Name=\"%s\"><pValue>%sReg</pValue></%s>\n",
                kind == 'F' ? "Float" : "Integer", name, name, kind == 'F' ? "Float" : "Integer");
        put_register(out, kind, name, "Reg", 0, "RO", port, big); /* of the chunk's own bytes */
        fprintf(out, "<Port Name=\"%s\"><ChunkID>%X</ChunkID></Port>\n", port, SIM_CHUNK_ID + c);
        fprintf(root, "<pFeature>%s</pFeature>", name);
    }
    node selector = {'E', "ChunkSelector", R_CHUNK_SELECTOR, ALWAYS, RW, 0, 0, 0, list};
    put_node(out, &selector);
    fprintf(root, "<pFeature>ChunkSelector</pFeature>");
}

static void put_strings(FILE *out, FILE *root) {
    for (unsigned i = 0; i < sizeof STRINGS / sizeof *STRINGS; i++) {
        bool writable = strcmp(STRINGS[i], "DeviceUserID") == 0;
        fprintf(out,
                "<StringReg Name=\"%s\"><Address>0x%X</Address><Length>64</Length>"
                "<AccessMode>%s</AccessMode><pPort>Device</pPort>"
                "<Cachable>NoCache</Cachable></StringReg>\n",
                STRINGS[i], SIM_STRING_BASE + 64 * i, writable ? "RW" : "RO");
        fprintf(root, "<pFeature>%s</pFeature>", STRINGS[i]);
    }
}

char *sim_make_xml(const sim_camera *camera) {
    char *nodes = NULL, *features = NULL, *whole = NULL;
    size_t size;
    FILE *out = open_memstream(&nodes, &size), *root = open_memstream(&features, &size);
    put_strings(out, root);
    for (size_t i = 0; i < sizeof NODES / sizeof *NODES; i++) {
        if (!present(camera, &NODES[i])) continue;
        put_node(out, &NODES[i]);
        fprintf(root, "<pFeature>%s</pFeature>", NODES[i].name);
    }
    put_variable(out, root, camera);
    fclose(out);
    fclose(root);
    out = open_memstream(&whole, &size);
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
            "<RegisterDescription ModelName=\"Simulated\" VendorName=\"rtface\" "
            "ToolTip=\"Simulated camera\" StandardNameSpace=\"None\" SchemaMajorVersion=\"1\" "
            "SchemaMinorVersion=\"1\" SchemaSubMinorVersion=\"0\" MajorVersion=\"1\" "
            "MinorVersion=\"0\" SubMinorVersion=\"0\" "
            "ProductGuid=\"5b1f6f0e-52c7-4f0a-9d3e-0c4be1a70011\" "
            "VersionGuid=\"5b1f6f0e-52c7-4f0a-9d3e-0c4be1a70012\" "
            "xmlns=\"http://www.genicam.org/GenApi/Version_1_1\" "
            "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
            "xsi:schemaLocation=\"http://www.genicam.org/GenApi/Version_1_1 "
            "GenApiSchema.xsd\">\n<Category Name=\"Root\">%s</Category>\n%s"
            "<Port Name=\"Device\"/>\n</RegisterDescription>\n",
            features, nodes);
    fclose(out);
    free(nodes);
    free(features);
    return whole;
}
