/* The backend of the simulator: its cameras' clocks, their life and death, and the glue. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

sim_camera *sim_cameras[FRONT_DEVICES_MAX];
static char configured[1024]; /* the file that sim_cameras were made from */

int64_t sim_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t sim_clock(const sim_camera *camera, int64_t host_ns) {
    int64_t since = host_ns - camera->boot_ns;
    return camera->clock_at_boot_ns + since +
           (int64_t)llround((double)since * camera->config.drift_ppm * 1e-6);
}

uint64_t sim_ticks(const sim_camera *camera, int64_t device_ns) {
    return (uint64_t)((unsigned __int128)device_ns * (uint64_t)camera->config.tick_hz /
                      1000000000u);
}

void sim_log(sim_camera *camera, const sim_record *record) {
    if (camera->log_file >= 0 && write(camera->log_file, record, sizeof *record) < 0)
        perror("the simulator's log");
}

/* ---- life and death; with the lock held ---- */

/* Another process may have seen this camera being switched on. */
static int64_t boot_time(sim_camera *camera) {
    int64_t now = sim_now();
    if (!camera->control) return now;
    int64_t noted = __atomic_load_n(&camera->control[6], __ATOMIC_ACQUIRE);
    if (noted > camera->dead_since_ns) return noted;
    bool first = __atomic_compare_exchange_n(&camera->control[6], &noted, now, false,
                                             __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return first ? now : noted;
}

void sim_boot(sim_camera *camera) {
    camera->dead = false;
    camera->boot_ns = boot_time(camera);
    camera->clock_at_boot_ns = camera->config.clock_start_ns;
    camera->next_id = camera->config.first_id;
    sim_registers_reset(camera);
}

void sim_die(sim_camera *camera) {
    camera->dead = true;
    camera->dead_since_ns = sim_now();
    camera->generation++; /* handles that are open now stay dead after it has come back */
    sim_acquire(camera, false);
    sim_drop_pending(camera);
}

static int64_t *fault_time(sim_camera *camera) {
    return camera->control ? (int64_t *)&camera->control[5] : &camera->fault_ns;
}

void sim_die_by_itself(sim_camera *camera) {
    if (*fault_time(camera)) return;
    *fault_time(camera) = sim_now();
    sim_die(camera);
}

bool sim_alive(sim_camera *camera) {
    int64_t fault = *fault_time(camera), back = camera->config.back_ms;
    bool dead = (camera->control && camera->control[2] != 0) ||
                (fault && (back < 0 || sim_now() - fault < back * 1000000));
    if (dead && !camera->dead) sim_die(camera);
    if (!dead && camera->dead) sim_boot(camera);
    return !dead;
}

/* The camera that this handle was opened for is still there. */
static bool reachable(sim_camera *camera) {
    return sim_alive(camera) && camera->opened == camera->generation;
}

/* ---- backend ---- */

/* The simulated hardware outlives GCCloseLib, as hardware does: consumers close and open the
 * library at each search. Only another configuration file makes new cameras. */
static GC_ERROR init(void) {
    const char *path = getenv("RTFACE_GENTL_SIM");
    if (sim_cameras[0] && strcmp(path ? path : "", configured) == 0) return GC_ERR_SUCCESS;
    configured[0] = 0;
    if (!sim_configure(path)) return GC_ERR_INVALID_PARAMETER;
    snprintf(configured, sizeof configured, "%s", path ? path : "");
    return GC_ERR_SUCCESS;
}

static void leave(void) {}

static int scan(front_device_info *list) {
    int count = 0;
    for (int i = 0; i < FRONT_DEVICES_MAX && sim_cameras[i]; i++) {
        sim_camera *camera = sim_cameras[i];
        pthread_mutex_lock(&camera->lock);
        if (sim_alive(camera)) {
            front_device_info *info = &list[count++];
            snprintf(info->id, sizeof info->id, "sim-%s", camera->config.serial);
            strcpy(info->vendor, camera->config.vendor);
            strcpy(info->model, camera->config.model);
            strcpy(info->serial, camera->config.serial);
            strcpy(info->user_id, camera->config.user_id);
            strcpy(info->version, "1.0");
            strcpy(info->tl_type, camera->config.tl_type);
            info->tick_hz = camera->config.has_timestamp ? (uint64_t)camera->config.tick_hz : 0;
        }
        pthread_mutex_unlock(&camera->lock);
    }
    return count;
}

static GC_ERROR open_camera(const char *id, void **handle) {
    for (int i = 0; i < FRONT_DEVICES_MAX && sim_cameras[i]; i++) {
        sim_camera *camera = sim_cameras[i];
        if (strncmp(id, "sim-", 4) != 0 || strcmp(id + 4, camera->config.serial) != 0) continue;
        pthread_mutex_lock(&camera->lock);
        bool alive = sim_alive(camera);
        camera->opened = camera->generation;
        pthread_mutex_unlock(&camera->lock);
        *handle = camera;
        return alive ? GC_ERR_SUCCESS : GC_ERR_INVALID_ID;
    }
    return GC_ERR_INVALID_ID;
}

/* The consumer has gone: a camera notices that and stops. */
static void close_camera(void *handle) {
    sim_camera *camera = handle;
    pthread_mutex_lock(&camera->lock);
    sim_acquire(camera, false);
    camera->stored[R_TL_LOCKED].i = 0;
    pthread_mutex_unlock(&camera->lock);
}

static int access_of(void *handle) {
    sim_camera *camera = handle;
    pthread_mutex_lock(&camera->lock);
    bool there = reachable(camera);
    pthread_mutex_unlock(&camera->lock);
    return there ? ACCESS_OPEN_READWRITE : ACCESS_NOACCESS;
}

static const char *xml_of(void *handle, size_t *size) {
    *size = ((sim_camera *)handle)->xml_size;
    return ((sim_camera *)handle)->xml;
}

/* Half of the time that an access takes passes on the way there, half on the way back. */
static void half_way(const sim_camera *camera) {
    long ns = (long)(camera->config.register_us * 500);
    struct timespec wait = {ns / 1000000000, ns % 1000000000};
    if (ns > 0) nanosleep(&wait, NULL);
}

static GC_ERROR read_register(void *handle, uint64_t address, void *data, size_t size) {
    sim_camera *camera = handle;
    half_way(camera);
    pthread_mutex_lock(&camera->lock);
    GC_ERROR result = reachable(camera) ? sim_read(camera, address, data, size) : GC_ERR_IO;
    pthread_mutex_unlock(&camera->lock);
    half_way(camera);
    return result;
}

static GC_ERROR write_register(void *handle, uint64_t address, const void *data, size_t size) {
    sim_camera *camera = handle;
    half_way(camera);
    pthread_mutex_lock(&camera->lock);
    GC_ERROR result = reachable(camera) ? sim_write(camera, address, data, size) : GC_ERR_IO;
    pthread_mutex_unlock(&camera->lock);
    half_way(camera);
    return result;
}

static size_t payload_size(void *handle) {
    (void)handle;
    return 0; /* the node PayloadSize has it */
}

static GC_ERROR start(void *handle, front_stream *stream) {
    return sim_start_thread(handle, stream);
}

static void stop(void *handle) {
    sim_stop_thread(handle);
}

const front_backend front_the_backend = {
    .name = "rtface simulated cameras",
    .vendor = "rtface",
    .model = "rtfacesim",
    .tl_type = "Custom",
    .init = init,
    .exit = leave,
    .scan = scan,
    .open = open_camera,
    .close = close_camera,
    .access = access_of,
    .xml = xml_of,
    .read = read_register,
    .write = write_register,
    .payload_size = payload_size,
    .start = start,
    .stop = stop,
};
