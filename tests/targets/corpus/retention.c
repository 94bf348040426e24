/*
 * Innocent: resident memory climbs, live bytes do not.
 *
 * A pool of threads, of which each turn uses the next. Each thread's first job makes glibc give it
 * an arena of its own; what the job frees stays in that arena, below a small block that the
 * thread's cache holds on to. So every job leaves as much resident memory behind as it used at
 * most, until all threads have had one.
 */
#define _GNU_SOURCE
#include "server.h"
#include <semaphore.h>

#define THREADS 400
#define JOB_BLOCKS 24
#define JOB_BLOCK_BYTES 16000
#define PIN_BYTES 40

static sem_t wanted[THREADS], done;
static uint64_t jobs;

static NOINLINE void work(void) {
    void *blocks[JOB_BLOCKS];
    for (int i = 0; i < JOB_BLOCKS; i++) {
        blocks[i] = malloc(JOB_BLOCK_BYTES);
        if (blocks[i] == NULL) fail("malloc");
        memset(blocks[i], i, JOB_BLOCK_BYTES);
    }
    /* On top of them, and freed first: the thread's cache keeps it, and the arena its end. */
    void *pin = malloc(PIN_BYTES);
    memset(pin, 1, PIN_BYTES);
    free(pin);
    for (int i = 0; i < JOB_BLOCKS; i++) free(blocks[i]);
}

static void *worker(void *index) {
    for (;;) {
        sem_wait(&wanted[(size_t)index]);
        work();
        sem_post(&done);
    }
    return NULL;
}

/* What is really held: replaced each turn, never more. */
static void *held[32];
static uint32_t seed = 4711;

static NOINLINE void hold(uint64_t number) {
    void **slot = &held[number % 32];
    free(*slot);
    *slot = malloc(around(&seed, 40000));
    if (*slot == NULL) fail("malloc");
}

static void turn(uint64_t number) {
    int rounds = (int)(options.churn_bytes_per_s / options.turns_per_s / 40000) + 1;
    for (int i = 0; i < rounds; i++) hold(number + (uint64_t)i);
    /* Every fourth turn brings a job. */
    if (number % 4 == 0) {
        sem_post(&wanted[jobs++ % THREADS]);
        while (sem_wait(&done) != 0 && errno == EINTR) {}
    }
}

static int truth(char *text, size_t room) {
    return snprintf(text, room,
        "\"retained\":[],\"companions\":[],\"innocent\":{\"jobs\":%llu,\"arena_bytes\":%zu}",
        (unsigned long long)jobs, mallinfo2().arena);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    mallopt(M_MMAP_THRESHOLD, 1 << 22);
    /* Else eight arenas a processor are shared by all. */
    mallopt(M_ARENA_MAX, THREADS + 8);
    sem_init(&done, 0, 0);
    for (size_t i = 0; i < THREADS; i++) sem_init(&wanted[i], 0, 0);
    for (size_t i = 0; i < THREADS; i++) start(worker, (void *)i);
    return run();
}
