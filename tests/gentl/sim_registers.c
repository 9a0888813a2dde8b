/* The camera's registers: what a read answers, and what a write does. */
#include <math.h>
#include <string.h>

#include "sim.h"

#define EXPOSURE_MIN 10.0
#define EXPOSURE_MAX 30e6

void sim_registers_reset(sim_camera *camera) {
    const sim_config *config = &camera->config;
    sim_value *v = camera->stored;
    memset(v, 0, sizeof camera->stored);
    memset(camera->line_mode, 0, sizeof camera->line_mode);
    memset(camera->line_source, 0, sizeof camera->line_source);
    memset(camera->line_inverter, 0, sizeof camera->line_inverter);
    memset(camera->strobe_on, 0, sizeof camera->strobe_on);
    memset(camera->strobe_delay, 0, sizeof camera->strobe_delay);
    memset(camera->strobe_duration, 0, sizeof camera->strobe_duration);
    memset(camera->chunk_enable, 0, sizeof camera->chunk_enable);
    v[R_WIDTH].i = config->width;
    v[R_HEIGHT].i = config->height;
    v[R_PIXEL_FORMAT].i = camera->format->pfnc;
    v[R_RATE_ON].i = 1;
    v[R_RATE].f = config->rate_hz;
    v[R_EXPOSURE].f = fmin(config->exposure_us, 1e6 / config->rate_hz);
    v[R_EXPOSURE_AUTO].i = v[R_GAIN_AUTO].i = v[R_RATE_AUTO].i = config->automatic ? 2 : 0;
    v[R_GAMMA].f = 1;
    v[R_TRIGGER_SOURCE].i = 1;  /* Line0 */
    camera->line_mode[1] = 1;   /* Line1 is an output, Line0 an input; 2 and 3 can be either */
}

static double exposure_max(const sim_camera *camera) {
    bool by_rate = camera->stored[R_RATE_ON].i && !camera->stored[R_TRIGGER_MODE].i;
    return by_rate ? 1e6 / camera->stored[R_RATE].f : EXPOSURE_MAX;
}

/* Levels of all lines, bit n for LineN, as a camera reports them in LineStatusAll. */
int64_t sim_lines(sim_camera *camera, int64_t now) {
    int64_t inputs = camera->control ? __atomic_load_n(&camera->control[1], __ATOMIC_ACQUIRE) : 0;
    bool exposing = now >= camera->exposing_from_ns && now < camera->exposing_to_ns;
    int64_t levels = 0;
    for (int n = 0; n < SIM_LINES; n++) {
        bool strobe = camera->line_source[n] == 1 || camera->strobe_on[n];
        bool level = camera->line_mode[n] ? strobe && exposing : inputs >> n & 1;
        if (level != (camera->line_inverter[n] != 0)) levels |= 1 << n;
    }
    return levels;
}

static bool locked(const sim_camera *camera) { /* image size and format are */
    return camera->acquiring || camera->stored[R_TL_LOCKED].i;
}

/* Those that belong to the line or chunk that a selector names. NULL: not such a register. */
static sim_value *selected(sim_camera *camera, int reg) {
    int64_t line = camera->stored[R_LINE_SELECTOR].i & (SIM_LINES - 1);
    int64_t chunk = camera->stored[R_CHUNK_SELECTOR].i;
    switch (reg) {
    case R_LINE_MODE: return (sim_value *)&camera->line_mode[line];
    case R_LINE_SOURCE: return (sim_value *)&camera->line_source[line];
    case R_LINE_INVERTER: return (sim_value *)&camera->line_inverter[line];
    case R_STROBE_ON: return (sim_value *)&camera->strobe_on[line];
    case R_STROBE_DELAY: return (sim_value *)&camera->strobe_delay[line];
    case R_STROBE_DURATION: return (sim_value *)&camera->strobe_duration[line];
    case R_CHUNK_ENABLE:
        return chunk >= 0 && chunk < SIM_CHUNKS ? (sim_value *)&camera->chunk_enable[chunk] : NULL;
    default: return NULL;
    }
}

static sim_value worked_out(sim_camera *camera, int reg) {
    const sim_value *v = camera->stored;
    const sim_config *config = &camera->config;
    int64_t now = sim_now();
    switch (reg) {
    case R_SENSOR_WIDTH:
    case R_WIDTH_MAX:
        return (sim_value){.i = config->width - (reg == R_WIDTH_MAX ? v[R_OFFSET_X].i : 0)};
    case R_SENSOR_HEIGHT:
    case R_HEIGHT_MAX:
        return (sim_value){.i = config->height - (reg == R_HEIGHT_MAX ? v[R_OFFSET_Y].i : 0)};
    case R_OFFSET_X_MAX: return (sim_value){.i = config->width - v[R_WIDTH].i};
    case R_OFFSET_Y_MAX: return (sim_value){.i = config->height - v[R_HEIGHT].i};
    case R_RATE_MAX: return (sim_value){.f = config->rate_max_hz};
    case R_EXPOSURE_MAX: return (sim_value){.f = exposure_max(camera)};
    case R_PAYLOAD: return (sim_value){.i = (int64_t)sim_layout_now(camera).payload};
    case R_TEMPERATURE: return (sim_value){.f = 41.5};
    case R_LATCHED_TICKS: return (sim_value){.i = (int64_t)sim_ticks(camera, v[R_LATCHED].i)};
    case R_TICK_HZ: return (sim_value){.i = config->tick_hz};
    case R_LINE_STATUS_ALL: return (sim_value){.i = sim_lines(camera, now)};
    case R_LINE_STATUS:
        return (sim_value){.i = sim_lines(camera, now) >> v[R_LINE_SELECTOR].i & 1};
    case R_LOCK_STREAM: return (sim_value){.i = locked(camera)};
    case R_LOCK_EXPOSURE: return (sim_value){.i = v[R_EXPOSURE_AUTO].i != 0};
    case R_LOCK_GAIN: return (sim_value){.i = v[R_GAIN_AUTO].i != 0};
    case R_LOCK_RATE: return (sim_value){.i = !v[R_RATE_ON].i || v[R_RATE_AUTO].i != 0};
    case R_LOCK_LINE_MODE: return (sim_value){.i = v[R_LINE_SELECTOR].i < 2};
    case R_LOCK_TRIGGER: return (sim_value){.i = v[R_TRIGGER_MODE].i != 0};
    default: return (sim_value){.i = 0}; /* a command is done as soon as it is written */
    }
}

static GC_ERROR string_at(sim_camera *camera, uint64_t address, char **text, size_t *room) {
    static char version[64] = "1.0";
    sim_config *c = &camera->config;
    char *const strings[] = {c->vendor, c->model, c->serial, c->user_id, version};
    uint64_t at = address - SIM_STRING_BASE;
    if (at / 64 >= sizeof strings / sizeof *strings) return GC_ERR_INVALID_ADDRESS;
    *text = strings[at / 64] + at % 64;
    *room = 64 - at % 64;
    return GC_ERR_SUCCESS;
}

static int register_at(uint64_t address, size_t size) {
    uint64_t number = (address - SIM_REGISTER_BASE) / 8;
    bool good = address >= SIM_REGISTER_BASE && address % 8 == 0 && size == 8 && number < R_COUNT;
    return good ? (int)number : -1;
}

GC_ERROR sim_read(sim_camera *camera, uint64_t address, void *data, size_t size) {
    if (address >= SIM_STRING_BASE) {
        char *text;
        size_t room;
        GC_ERROR result = string_at(camera, address, &text, &room);
        if (result || size > room) return GC_ERR_INVALID_ADDRESS;
        memcpy(data, text, size);
        return GC_ERR_SUCCESS;
    }
    int reg = register_at(address, size);
    if (reg < 0) return GC_ERR_INVALID_ADDRESS;
    sim_value *own = reg < R_STORED ? &camera->stored[reg] : selected(camera, reg);
    sim_value value = own ? *own : worked_out(camera, reg);
    memcpy(data, &value, sizeof value);
    return GC_ERR_SUCCESS;
}

/* ---- writing ---- */

static GC_ERROR command(sim_camera *camera, int reg) {
    int64_t now = sim_now();
    switch (reg) {
    case R_START: sim_acquire(camera, true); break;
    case R_STOP: sim_acquire(camera, false); break;
    case R_LATCH: camera->stored[R_LATCHED].i = sim_clock(camera, now); break;
    case R_CLOCK_RESET:
        camera->boot_ns = now;
        camera->clock_at_boot_ns = 0;
        break;
    case R_SOFTWARE:
        if (camera->stored[R_TRIGGER_MODE].i && camera->stored[R_TRIGGER_SOURCE].i == 0)
            sim_trigger(camera, now);
        break;
    default: return GC_ERR_ACCESS_DENIED;
    }
    return GC_ERR_SUCCESS;
}

static bool in_range(const sim_camera *camera, int reg, sim_value new) {
    const sim_config *config = &camera->config;
    const sim_value *v = camera->stored;
    switch (reg) {
    case R_WIDTH: return new.i >= 16 && new.i % 4 == 0 && new.i + v[R_OFFSET_X].i <= config->width;
    case R_HEIGHT:
        return new.i >= 16 && new.i % 2 == 0 && new.i + v[R_OFFSET_Y].i <= config->height;
    case R_OFFSET_X: return new.i >= 0 && new.i % 4 == 0 && new.i + v[R_WIDTH].i <= config->width;
    case R_OFFSET_Y: return new.i >= 0 && new.i % 2 == 0 && new.i + v[R_HEIGHT].i <= config->height;
    case R_PIXEL_FORMAT:
        return new.i == camera->format->pfnc || new.i == sim_format_named("Mono8")->pfnc;
    case R_RATE: return new.f >= 1 && new.f <= config->rate_max_hz;
    case R_EXPOSURE: return new.f >= EXPOSURE_MIN && new.f <= exposure_max(camera);
    case R_GAIN: return new.f >= 0 && new.f <= 24;
    case R_LINE_SELECTOR: return new.i >= 0 && new.i < SIM_LINES;
    case R_CHUNK_SELECTOR: return new.i >= 0 && new.i < SIM_CHUNKS;
    case R_TRIGGER_SOURCE: return new.i >= 0 && new.i <= SIM_LINES;
    default: return true;
    }
}

static bool refused(sim_camera *camera, int reg) {
    switch (reg) {
    case R_WIDTH:
    case R_HEIGHT:
    case R_PIXEL_FORMAT:
    case R_CHUNK_MODE:
    case R_CHUNK_ENABLE: return locked(camera);
    case R_EXPOSURE: return worked_out(camera, R_LOCK_EXPOSURE).i;
    case R_GAIN: return worked_out(camera, R_LOCK_GAIN).i;
    case R_RATE: return worked_out(camera, R_LOCK_RATE).i;
    case R_LINE_MODE: return worked_out(camera, R_LOCK_LINE_MODE).i;
    case R_TRIGGER_SOURCE:
    case R_TRIGGER_ACTIVATION: return worked_out(camera, R_LOCK_TRIGGER).i;
    default: return false;
    }
}

/* Line mode and the like are held as int64 or double of eight bytes each, so one copy fits all. */
GC_ERROR sim_write(sim_camera *camera, uint64_t address, const void *data, size_t size) {
    if (address >= SIM_STRING_BASE) {
        char *text;
        size_t room;
        GC_ERROR result = string_at(camera, address, &text, &room);
        if (result || size > room) return GC_ERR_INVALID_ADDRESS;
        if (text != camera->config.user_id) return GC_ERR_ACCESS_DENIED;
        memcpy(text, data, size);
        text[63] = 0;
        return GC_ERR_SUCCESS;
    }
    int reg = register_at(address, size);
    if (reg < 0) return GC_ERR_INVALID_ADDRESS;
    sim_value value;
    memcpy(&value, data, sizeof value);
    sim_value *own = reg < R_STORED ? &camera->stored[reg] : selected(camera, reg);
    if (!own) return command(camera, reg);
    if (reg == R_LATCHED) return GC_ERR_ACCESS_DENIED;
    if (refused(camera, reg)) return GC_ERR_NOT_AVAILABLE;
    if (!in_range(camera, reg, value)) return GC_ERR_INVALID_VALUE;
    if (reg == R_TRIGGER_MODE && !value.i) camera->next_ns = sim_now(); /* nothing to catch up */
    memcpy(own, &value, sizeof value);
    camera->stored[R_EXPOSURE].f = fmin(camera->stored[R_EXPOSURE].f, exposure_max(camera));
    pthread_cond_signal(&camera->wake);
    return GC_ERR_SUCCESS;
}
