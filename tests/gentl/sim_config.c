/* The configuration file of the simulator. A mistake in it is an error, never ignored. */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim.h"

enum { TEXT, INTEGER, NUMBER, FAULTS };

#define KEY(name, kind) {#name, kind, offsetof(sim_config, name), sizeof(((sim_config *)0)->name)}

static const struct {
    const char *name;
    int kind;
    size_t offset, size;
} KEYS[] = {
    KEY(serial, TEXT), KEY(user_id, TEXT), KEY(model, TEXT), KEY(vendor, TEXT),
    KEY(tl_type, TEXT), KEY(pixel_format, TEXT), KEY(clip, TEXT), KEY(log, TEXT),
    KEY(names, TEXT), KEY(stamp, TEXT), KEY(width, INTEGER), KEY(height, INTEGER),
    KEY(line_padding, INTEGER), KEY(id_bits, INTEGER), KEY(first_id, INTEGER),
    KEY(id_restart, INTEGER), KEY(has_timestamp, INTEGER), KEY(has_timestamp_ns, INTEGER),
    KEY(latch, INTEGER), KEY(tick_hz, INTEGER), KEY(clock_start_ns, INTEGER), KEY(die, INTEGER),
    KEY(back_ms, INTEGER), KEY(automatic, INTEGER), KEY(rate_hz, NUMBER),
    KEY(rate_max_hz, NUMBER), KEY(exposure_us, NUMBER), KEY(drift_ppm, NUMBER),
    KEY(delivery_delay_us, NUMBER), KEY(jitter_us, NUMBER), KEY(register_us, NUMBER),
    KEY(drop, FAULTS), KEY(incomplete, FAULTS), KEY(delay, FAULTS), KEY(silent, FAULTS),
};

static void set_defaults(sim_config *c, int number) {
    memset(c, 0, sizeof *c);
    snprintf(c->serial, sizeof c->serial, "SIM%05d", number + 1);
    strcpy(c->model, "Simulated");
    strcpy(c->vendor, "rtface");
    strcpy(c->tl_type, "Custom"); /* GEV and U3V: chunks as these standards lay them out */
    strcpy(c->pixel_format, "Mono8");
    strcpy(c->names, "sfnc");  /* or pgr: names of older Point Grey cameras */
    strcpy(c->stamp, "start"); /* of the exposure is what the timestamp means; or end */
    c->width = 640;
    c->height = 480;
    c->id_bits = 64;
    c->first_id = -1;  /* 1 for 16 bit, else 0 */
    c->id_restart = 1; /* each start of the acquisition begins with first_id again */
    c->has_timestamp = 1;
    c->has_timestamp_ns = -1; /* only if a tick is a nanosecond */
    c->latch = 1;
    c->tick_hz = 1000000000;
    c->clock_start_ns = 1000000000;
    c->die = -1;
    c->back_ms = -1; /* never */
    c->rate_hz = 100;
    c->rate_max_hz = 500;
    c->exposure_us = 1000;
}

static void trim(char **text) {
    while (isspace((unsigned char)**text)) (*text)++;
    char *end = *text + strlen(*text);
    while (end > *text && isspace((unsigned char)end[-1])) *--end = 0;
}

static bool parse_faults(sim_faults *faults, char *text) {
    char *rest = NULL;
    for (char *item = strtok_r(text, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
        long long frame;
        double value = 1;
        if (faults->count == SIM_FAULTS_MAX || sscanf(item, "%lld:%lf", &frame, &value) < 1)
            return false;
        faults->items[faults->count++] = (sim_fault){frame, value};
    }
    return true;
}

static bool set_key(sim_config *config, const char *key, char *value) {
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        if (strcmp(KEYS[i].name, key) != 0) continue;
        void *field = (char *)config + KEYS[i].offset;
        char *end = value;
        switch (KEYS[i].kind) {
        case TEXT: return (size_t)snprintf(field, KEYS[i].size, "%s", value) < KEYS[i].size;
        case INTEGER: *(int64_t *)field = strtoll(value, &end, 0); break;
        case NUMBER: *(double *)field = strtod(value, &end); break;
        case FAULTS: return parse_faults(field, value);
        }
        return end != value && *end == 0;
    }
    return false;
}

/* The value of a fault that befalls exposure `index`; as_range: the value is a number of frames. */
const double *sim_fault_at(const sim_faults *faults, int64_t index, bool as_range) {
    for (int i = 0; i < faults->count; i++) {
        const sim_fault *fault = &faults->items[i];
        int64_t count = as_range ? (int64_t)fault->value : 1;
        if (index >= fault->frame && index < fault->frame + count) return &fault->value;
    }
    return NULL;
}

static void *map_file(const char *path, int mode, size_t *bytes) {
    int file = open(path, mode);
    struct stat about;
    void *memory = MAP_FAILED;
    if (file >= 0 && fstat(file, &about) == 0 && about.st_size > 0) {
        int protection = mode == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;
        memory = mmap(NULL, (size_t)about.st_size, protection, MAP_SHARED, file, 0);
        *bytes = (size_t)about.st_size;
    }
    if (file >= 0) close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool complain(const char *what, const char *detail) {
    fprintf(stderr, "RTFACE_GENTL_SIM: %s: %s\n", what, detail);
    return false;
}

static bool finish_camera(sim_camera *camera) {
    sim_config *c = &camera->config;
    camera->format = sim_format_named(c->pixel_format);
    if (!camera->format) return complain("unknown pixel_format", c->pixel_format);
    if (c->width < 16 || c->width % 4 || c->height < 16 || c->height % 2)
        return complain("width must be a multiple of 4, height of 2, both 16 at least", c->serial);
    if (c->first_id < 0) c->first_id = c->id_bits == 16;
    if (c->has_timestamp_ns < 0) c->has_timestamp_ns = c->tick_hz == 1000000000;
    if (c->rate_max_hz < c->rate_hz) c->rate_max_hz = c->rate_hz;
    if (c->clip[0]) {
        size_t frame = (size_t)(c->width * c->height * camera->format->bits / 8);
        camera->clip = map_file(c->clip, O_RDONLY, &camera->clip_bytes);
        if (!camera->clip || camera->clip_bytes % frame)
            return complain("clip cannot be read or is no whole number of frames", c->clip);
        camera->clip_frames = (int64_t)(camera->clip_bytes / frame);
    }
    camera->log_file = -1;
    if (c->log[0]) {
        camera->log_file = open(c->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (camera->log_file < 0) return complain("log cannot be opened", c->log);
    }
    pthread_mutex_init(&camera->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&camera->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    camera->segment = -1;
    sim_boot(camera);
    camera->xml = sim_make_xml(camera);
    camera->xml_size = strlen(camera->xml);
    return true;
}

static void release_cameras(void) {
    for (int i = 0; i < FRONT_DEVICES_MAX; i++) {
        sim_camera *camera = sim_cameras[i];
        if (!camera) continue;
        if (camera->clip) munmap((void *)(uintptr_t)camera->clip, camera->clip_bytes);
        if (camera->log_file >= 0) close(camera->log_file);
        free(camera->xml);
        free(camera);
        sim_cameras[i] = NULL;
    }
}

static bool parse(FILE *file, sim_config *configs, int64_t *cameras, char *control,
                  uint64_t *seed) {
    char line[2048];
    while (fgets(line, sizeof line, file)) {
        char *key = line, *value = strchr(line, '=');
        trim(&key);
        if (!*key || *key == '#') continue;
        if (!value) return complain("a line without =", key);
        *value++ = 0;
        trim(&key);
        trim(&value);
        bool good = true;
        if (strcmp(key, "cameras") == 0) *cameras = atoll(value);
        else if (strcmp(key, "control") == 0) snprintf(control, 1024, "%s", value);
        else if (strcmp(key, "seed") == 0) *seed = strtoull(value, NULL, 0);
        else if (key[0] >= '0' && key[0] < '0' + FRONT_DEVICES_MAX && key[1] == '.')
            good = set_key(&configs[key[0] - '0'], key + 2, value);
        else good = false;
        if (!good) return complain("unknown key or bad value", key);
    }
    return true;
}

bool sim_configure(const char *path) {
    static sim_config configs[FRONT_DEVICES_MAX];
    char control[1024] = "";
    int64_t cameras = 1;
    uint64_t seed = 1;
    for (int i = 0; i < FRONT_DEVICES_MAX; i++) set_defaults(&configs[i], i);
    if (path) {
        FILE *file = fopen(path, "r");
        if (!file) return complain("cannot be read", path);
        bool good = parse(file, configs, &cameras, control, &seed);
        fclose(file);
        if (!good) return false;
    }
    size_t bytes = 0;
    int64_t *words = control[0] ? map_file(control, O_RDWR, &bytes) : NULL;
    if (control[0] && bytes < FRONT_DEVICES_MAX * 64)
        return complain("control is no file of 512 bytes", control);
    release_cameras();
    for (int i = 0; i < cameras && i < FRONT_DEVICES_MAX; i++) {
        sim_camera *camera = calloc(1, sizeof *camera);
        if (!camera) return complain("no memory", "");
        camera->number = i;
        camera->config = configs[i];
        camera->control = words ? words + 8 * i : NULL;
        camera->random = seed * 0x9E3779B97F4A7C15ull + (uint64_t)i + 1;
        sim_cameras[i] = camera;
        if (!finish_camera(camera)) return false;
    }
    return true;
}
