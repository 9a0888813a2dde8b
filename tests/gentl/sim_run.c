/* The thread of a streaming camera: when it exposes, and when frames arrive at the host.
 *
 * Exposures happen at the times they should, on paper: if the thread wakes late, it notes those
 * that are due with their proper times. Only deliveries can be late, and the log says when they
 * were. Pixels are made at delivery, so a frame on its way costs no memory.
 */
#include <math.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "sim.h"

#define POLL_LINES_NS 250000 /* while an input line may trigger */
#define POLL_NS 10000000     /* else, for the control file's kill flag */

static double random_unit(sim_camera *camera) { /* 0 to 1; xorshift, repeatable by the seed */
    camera->random ^= camera->random << 13;
    camera->random ^= camera->random >> 7;
    camera->random ^= camera->random << 17;
    return (double)(camera->random >> 11) / 9007199254740992.0;
}

static int64_t host_ns(const sim_camera *camera, double device_ns) {
    return (int64_t)llround(device_ns / (1 + camera->config.drift_ppm * 1e-6));
}

static int64_t id_after(const sim_camera *camera, int64_t id) {
    switch (camera->config.id_bits) {
    case 16: return id >= 65535 ? 1 : id + 1; /* 0 is never used */
    case 32: return (id + 1) & 0xFFFFFFFF;
    default: return id + 1;
    }
}

static double period_ns(const sim_camera *camera) {
    double rate = camera->stored[R_RATE_ON].i ? camera->stored[R_RATE].f
                                              : camera->config.rate_max_hz;
    return fmax(1e9 / rate, camera->stored[R_EXPOSURE].f * 1e3);
}

/* Expose once, from `start` on (host time), and send the frame on its way. */
static void expose(sim_camera *camera, int64_t start) {
    const sim_config *config = &camera->config;
    if (config->die >= 0 && camera->index >= config->die) {
        sim_die_by_itself(camera);
        if (camera->dead) return;
    }
    int64_t length = host_ns(camera, camera->stored[R_EXPOSURE].f * 1e3);
    sim_exposure e;
    memset(&e, 0, sizeof e);
    e.layout = sim_layout_now(camera);
    bool at_end = strcmp(config->stamp, "end") == 0;
    e.record.segment = camera->segment;
    e.record.index = camera->index;
    e.record.frame_id = camera->next_id;
    e.record.device_ns = sim_clock(camera, at_end ? start + length : start);
    e.record.middle_ns = start + length / 2;
    e.record.clip_index = camera->clip ? camera->index % camera->clip_frames : camera->index;
    e.record.what = sim_fault_at(&config->drop, camera->index, true)         ? WHAT_DROPPED
                    : sim_fault_at(&config->incomplete, camera->index, true) ? WHAT_INCOMPLETE
                                                                             : WHAT_DELIVERED;
    e.exposure_us = camera->stored[R_EXPOSURE].f;
    e.gain = camera->stored[R_GAIN].f;
    camera->exposing_from_ns = start;
    camera->exposing_to_ns = start + length;
    e.lines = sim_lines(camera, start);
    const double *delay = sim_fault_at(&config->delay, camera->index, false);
    e.due_ns = start + length + (int64_t)(config->delivery_delay_us * 1e3) +
               (int64_t)(config->jitter_us * 1e3 * random_unit(camera)) +
               (delay ? (int64_t)(*delay * 1e6) : 0);
    if (e.due_ns < camera->last_due_ns) e.due_ns = camera->last_due_ns; /* the link keeps order */
    camera->last_due_ns = e.due_ns;
    camera->busy_until_ns = start + host_ns(camera, fmax(1e9 / config->rate_max_hz,
                                                         camera->stored[R_EXPOSURE].f * 1e3));
    camera->next_id = id_after(camera, camera->next_id);
    camera->index++;
    if (camera->stored[R_ACQ_MODE].i == 1) sim_acquire(camera, false); /* SingleFrame */
    if (camera->pending_count == SIM_PENDING) {
        e.record.what = WHAT_DROPPED;
        sim_log(camera, &e.record);
        return;
    }
    camera->pending[(camera->first_pending + camera->pending_count++) % SIM_PENDING] = e;
}

void sim_trigger(sim_camera *camera, int64_t host) {
    if (!camera->acquiring || !camera->thread_runs) return;
    int64_t start = host + (int64_t)(camera->stored[R_TRIGGER_DELAY].f * 1e3);
    if (start >= camera->busy_until_ns) {
        expose(camera, start);
        pthread_cond_signal(&camera->wake);
        return;
    }
    sim_record missed = {camera->segment, camera->index, 0, sim_clock(camera, host), host, 0,
                         WHAT_TRIGGER_MISSED, -1};
    sim_log(camera, &missed);
}

/* Turn what the test did to the control file into triggers. */
static void follow_lines(sim_camera *camera, int64_t now) {
    if (!camera->control) return;
    int64_t edges = __atomic_load_n(&camera->control[0], __ATOMIC_ACQUIRE);
    int64_t levels = __atomic_load_n(&camera->control[1], __ATOMIC_ACQUIRE);
    int64_t changed = levels ^ camera->levels_seen;
    int64_t source = camera->stored[R_TRIGGER_SOURCE].i; /* 0 is software, n + 1 is LineN */
    bool armed = camera->acquiring && camera->stored[R_TRIGGER_MODE].i && source > 0;
    if (armed && changed >> (source - 1) & 1) {
        bool rose = levels >> (source - 1) & 1;
        int64_t activation = camera->stored[R_TRIGGER_ACTIVATION].i; /* rising, falling, any */
        if (activation == 2 || rose == (activation == 0)) sim_trigger(camera, now);
    }
    if (armed && source == 1)
        for (int64_t n = camera->edges_seen; n < edges; n++) sim_trigger(camera, now);
    camera->edges_seen = edges;
    camera->levels_seen = levels;
    __atomic_store_n(&camera->control[3], edges, __ATOMIC_RELEASE);
}

static void run_free(sim_camera *camera, int64_t now) {
    while (camera->acquiring && camera->next_ns <= now) {
        expose(camera, camera->next_ns);
        double step = period_ns(camera) / (1 + camera->config.drift_ppm * 1e-6) + camera->carry_ns;
        camera->carry_ns = step - floor(step);
        camera->next_ns += (int64_t)floor(step);
        const double *silent = sim_fault_at(&camera->config.silent, camera->index, false);
        if (silent) camera->next_ns += (int64_t)(*silent * 1e6);
    }
}

/* Hand over what has arrived. The lock is released while pixels are copied, so that reading the
 * camera's clock does not wait for them. */
static void deliver(sim_camera *camera, int64_t now) {
    while (camera->pending_count > 0 && !camera->stop) {
        sim_exposure e = camera->pending[camera->first_pending];
        if (e.due_ns > now) return;
        camera->first_pending = (camera->first_pending + 1) % SIM_PENDING;
        camera->pending_count--;
        front_buffer *buffer = NULL;
        if (e.record.what != WHAT_DROPPED) {
            buffer = front_take(camera->stream);
            if (!buffer) e.record.what = WHAT_NO_BUFFER;
        }
        if (buffer) {
            front_stream *stream = camera->stream;
            pthread_mutex_unlock(&camera->lock);
            sim_fill(camera, &e, buffer);
            e.record.delivery_ns = sim_now();
            sim_log(camera, &e.record);
            front_deliver(stream, buffer);
            pthread_mutex_lock(&camera->lock);
        } else {
            sim_log(camera, &e.record);
        }
    }
}

void sim_drop_pending(sim_camera *camera) {
    while (camera->pending_count > 0) {
        sim_record *record = &camera->pending[camera->first_pending].record;
        record->what = WHAT_DROPPED;
        sim_log(camera, record);
        camera->first_pending = (camera->first_pending + 1) % SIM_PENDING;
        camera->pending_count--;
    }
}

static void sleep_until(sim_camera *camera, int64_t now) {
    bool triggered = camera->stored[R_TRIGGER_MODE].i;
    bool lines = camera->acquiring && triggered && camera->stored[R_TRIGGER_SOURCE].i > 0;
    int64_t until = now + (lines && camera->control ? POLL_LINES_NS : POLL_NS);
    if (camera->acquiring && !triggered && camera->next_ns < until) until = camera->next_ns;
    if (camera->pending_count > 0 && camera->pending[camera->first_pending].due_ns < until)
        until = camera->pending[camera->first_pending].due_ns;
    struct timespec wait = {until / 1000000000, until % 1000000000};
    pthread_cond_timedwait(&camera->wake, &camera->lock, &wait);
}

static void *run(void *argument) {
    sim_camera *camera = argument;
    prctl(PR_SET_TIMERSLACK, 1ul); /* the usual 50 us would be the largest error of all */
    pthread_mutex_lock(&camera->lock);
    while (!camera->stop) {
        int64_t now = sim_now();
        if (sim_alive(camera)) {
            follow_lines(camera, now);
            if (!camera->stored[R_TRIGGER_MODE].i) run_free(camera, now);
        }
        deliver(camera, now);
        if (!camera->stop) sleep_until(camera, sim_now());
    }
    pthread_mutex_unlock(&camera->lock);
    return NULL;
}

/* AcquisitionStart and AcquisitionStop. Frames that are on their way still arrive. */
void sim_acquire(sim_camera *camera, bool on) {
    if (on && !camera->acquiring) {
        camera->segment++;
        camera->index = 0;
        camera->next_ns = sim_now();
        camera->carry_ns = 0;
        camera->busy_until_ns = camera->last_due_ns = 0;
        if (camera->config.id_restart) camera->next_id = camera->config.first_id;
        if (camera->control) { /* edges from before do not count */
            camera->edges_seen = __atomic_load_n(&camera->control[0], __ATOMIC_ACQUIRE);
            camera->levels_seen = __atomic_load_n(&camera->control[1], __ATOMIC_ACQUIRE);
        }
    }
    camera->acquiring = on;
    if (camera->control) __atomic_store_n(&camera->control[4], on, __ATOMIC_RELEASE);
    pthread_cond_signal(&camera->wake);
}

GC_ERROR sim_start_thread(sim_camera *camera, front_stream *stream) {
    pthread_mutex_lock(&camera->lock);
    camera->stream = stream;
    camera->stop = false;
    camera->thread_runs = pthread_create(&camera->thread, NULL, run, camera) == 0;
    bool started = camera->thread_runs;
    pthread_mutex_unlock(&camera->lock);
    return started ? GC_ERR_SUCCESS : GC_ERR_ERROR;
}

void sim_stop_thread(sim_camera *camera) {
    pthread_mutex_lock(&camera->lock);
    bool runs = camera->thread_runs;
    camera->stop = true;
    pthread_cond_signal(&camera->wake);
    pthread_mutex_unlock(&camera->lock);
    if (runs) pthread_join(camera->thread, NULL);
    pthread_mutex_lock(&camera->lock);
    camera->thread_runs = false;
    sim_drop_pending(camera);
    pthread_mutex_unlock(&camera->lock);
}
