/* What a frame consists of: lines of the clip or of a gradient, padding, and chunks. */
#include <string.h>

#include "sim.h"

static const sim_format FORMATS[] = {
    {"Mono8", 0x01080001, 8, 8},         {"Mono10", 0x01100003, 16, 10},
    {"Mono12", 0x01100005, 16, 12},      {"Mono16", 0x01100007, 16, 16},
    {"Mono10p", 0x010A0046, 10, 10},     {"Mono12p", 0x010C0047, 12, 12},
    {"Mono12Packed", 0x010C0006, 12, 12}, {"BayerRG8", 0x01080009, 8, 8},
};

const sim_format *sim_format_named(const char *name) {
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++)
        if (strcmp(FORMATS[i].name, name) == 0) return &FORMATS[i];
    return NULL;
}

/* Either that of the clip, or Mono8, which the camera makes of it. */
static const sim_format *format_now(const sim_camera *camera) {
    bool native = camera->stored[R_PIXEL_FORMAT].i == camera->format->pfnc;
    return native ? camera->format : &FORMATS[0];
}

sim_layout sim_layout_now(const sim_camera *camera) {
    const sim_value *v = camera->stored;
    sim_layout l = {.format = format_now(camera),
                    .width = (size_t)v[R_WIDTH].i,
                    .height = (size_t)v[R_HEIGHT].i,
                    .x_offset = (size_t)v[R_OFFSET_X].i,
                    .y_offset = (size_t)v[R_OFFSET_Y].i,
                    .with_chunks = v[R_CHUNK_MODE].i != 0};
    l.stride = l.width * (size_t)l.format->bits / 8 + (size_t)camera->config.line_padding;
    l.payload = l.stride * l.height;
    if (!l.with_chunks) return l;
    l.payload += 8; /* the image's own trailer, then the chunks with theirs */
    for (int c = 0; c < SIM_CHUNKS; c++) {
        if (!camera->chunk_enable[c]) continue;
        l.chunks |= 1u << c;
        l.payload += 16;
    }
    return l;
}

/* The eight upper bits of pixel x of a line: what a camera sends when asked for Mono8. */
static uint8_t upper_bits(const sim_format *format, const uint8_t *line, size_t x) {
    if (format->bits == 8) return line[x];
    if (format->bits == 16) {
        unsigned value = line[2 * x] | (unsigned)line[2 * x + 1] << 8;
        return (uint8_t)(value >> (format->significant - 8));
    }
    if (strcmp(format->name, "Mono12Packed") == 0) return line[x / 2 * 3 + (x % 2) * 2];
    size_t bit = x * (size_t)format->bits; /* Mono10p, Mono12p: least significant bit first */
    unsigned two = line[bit / 8] | (unsigned)line[bit / 8 + 1] << 8;
    return (uint8_t)(two >> (bit % 8) >> (format->bits - 8));
}

static void fill_from_clip(const sim_camera *camera, const sim_layout *layout, int64_t index,
                           uint8_t *out) {
    const sim_format *native = camera->format, *now = layout->format;
    size_t full = (size_t)camera->config.width * (size_t)native->bits / 8;
    size_t lines = layout->height, width = layout->width;
    size_t bytes = width * (size_t)now->bits / 8, stride = layout->stride;
    const uint8_t *in = camera->clip + (size_t)index * full * (size_t)camera->config.height +
                        layout->y_offset * full + layout->x_offset * (size_t)native->bits / 8;
    if (now == native && bytes == full && stride == full) {
        memcpy(out, in, full * lines);
        return;
    }
    for (size_t y = 0; y < lines; y++, in += full, out += stride) {
        if (now == native) memcpy(out, in, bytes);
        else
            for (size_t x = 0; x < width; x++) out[x] = upper_bits(native, in, x);
        memset(out + bytes, 0xEE, stride - bytes); /* padding must not pass for image */
    }
}

/* Value (x + y + index) mod 256: each line is a piece of one long line that repeats itself. */
static void fill_gradient(const sim_camera *camera, const sim_layout *layout, int64_t index,
                          uint8_t *out) {
    static _Thread_local uint8_t ramp[2 * (16384 + 256)];
    size_t step = layout->format->bits == 16 ? 2 : 1; /* Mono10 and 12 stay in range */
    size_t bytes = layout->stride - (size_t)camera->config.line_padding;
    if (bytes > sizeof ramp - 256 * step) bytes = sizeof ramp - 256 * step;
    for (size_t i = 0; i < bytes / step + 256; i++) {
        ramp[step * i] = (uint8_t)i;
        if (step == 2) ramp[2 * i + 1] = 0;
    }
    uint8_t *line = out;
    for (size_t y = 0; y < layout->height; y++, line += layout->stride) {
        memcpy(line, ramp + step * ((y + (size_t)index) & 255), bytes);
        memset(line + bytes, 0xEE, layout->stride - bytes);
    }
    memcpy(out, &index, 8); /* which frame this is */
}

static void put(uint8_t *out, uint64_t value, size_t bytes, bool big_endian) {
    for (size_t i = 0; i < bytes; i++)
        out[big_endian ? bytes - 1 - i : i] = (uint8_t)(value >> (8 * i));
}

/* Chunks in the layout of GigE Vision (big endian) and USB3 Vision (little endian): each datum is
 * followed by its id and its length, and the image is the first. Other consumers get the list. */
static size_t add_chunks(const sim_camera *camera, const sim_exposure *e, uint8_t *base,
                         size_t image, front_frame *frame) {
    bool big = strcmp(camera->config.tl_type, "GEV") == 0;
    bool ticks = strcmp(camera->config.names, "pgr") == 0; /* only newer cameras send ns */
    int64_t time = ticks ? (int64_t)sim_ticks(camera, e->record.device_ns) : e->record.device_ns;
    const sim_value values[SIM_CHUNKS] = {{.i = time},
                                          {.i = e->record.frame_id},
                                          {.f = e->exposure_us},
                                          {.f = e->gain},
                                          {.i = e->lines}};
    uint8_t *out = base + image;
    put(out, 1, 4, big);
    put(out + 4, image, 4, big);
    frame->chunks[frame->chunk_count++] = (SINGLE_CHUNK_DATA){1, 0, image};
    out += 8;
    for (uint64_t c = 0; c < SIM_CHUNKS; c++) {
        if (!(e->layout.chunks >> c & 1)) continue;
        put(out, (uint64_t)values[c].i, 8, big);
        put(out + 8, SIM_CHUNK_ID + c, 4, big);
        put(out + 12, 8, 4, big);
        frame->chunks[frame->chunk_count++] =
            (SINGLE_CHUNK_DATA){SIM_CHUNK_ID + c, out - base, 8};
        out += 16;
    }
    return (size_t)(out - base);
}

void sim_fill(const sim_camera *camera, const sim_exposure *e, front_buffer *buffer) {
    front_frame *frame = &buffer->frame;
    const sim_config *config = &camera->config;
    const sim_layout *layout = &e->layout;
    size_t image = layout->stride * layout->height;
    frame->frame_id = (uint64_t)e->record.frame_id;
    frame->width = layout->width;
    frame->height = layout->height;
    frame->x_offset = layout->x_offset;
    frame->y_offset = layout->y_offset;
    frame->x_padding = (size_t)config->line_padding;
    frame->pixel_format = layout->format->pfnc;
    frame->has_timestamp = config->has_timestamp;
    frame->has_timestamp_ns = config->has_timestamp && config->has_timestamp_ns;
    frame->timestamp = sim_ticks(camera, e->record.device_ns);
    /* The camera sends ticks; nanoseconds are what the producer makes of them. */
    frame->timestamp_ns = (uint64_t)((unsigned __int128)frame->timestamp * 1000000000u /
                                     (uint64_t)config->tick_hz);
    frame->data_size = frame->filled = layout->payload;
    if (frame->data_size > buffer->size) {
        frame->incomplete = true;
        frame->filled = 0;
        return;
    }
    uint8_t *out = buffer->base;
    if (camera->clip) fill_from_clip(camera, layout, e->record.clip_index, out);
    else fill_gradient(camera, layout, e->record.clip_index, out);
    if (e->record.what == WHAT_INCOMPLETE) {
        /* The lower half was never sent. */
        frame->incomplete = true;
        frame->filled = image / 2;
        memset(out + frame->filled, 0, frame->data_size - frame->filled);
    } else if (layout->with_chunks) {
        frame->chunk_payload = add_chunks(camera, e, out, image, frame);
    }
}
