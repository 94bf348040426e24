/* Eight threads make blocks; whichever thread comes next frees them, through one queue. */
#include "truth.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 140000, QUEUE = 1024, KEEP_ONE_IN = 100 };

struct parcel {
    void *block;
    size_t bytes;
};

static struct site passed = {.function = "make_parcel"};
static struct site kept_by_thread = {.function = "keep_in_thread"};
static struct parcel queue[QUEUE];
static size_t queue_head, queue_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[THREADS][ROUNDS / KEEP_ONE_IN + 1];

NOINLINE static void *make_parcel(size_t bytes) {
    void *block = malloc(bytes);
    return born(&passed, block, bytes);
}

NOINLINE static void *keep_in_thread(size_t bytes) {
    void *block = malloc(bytes);
    return born(&kept_by_thread, block, bytes);
}

/* Puts a parcel into the queue; gives back the oldest one when the queue is full. */
static struct parcel exchange(struct parcel in) {
    struct parcel out = {NULL, 0};
    pthread_mutex_lock(&lock);
    if (queue_count == QUEUE) {
        out = queue[queue_head];
        queue_head = (queue_head + 1) % QUEUE;
        queue_count--;
    }
    queue[(queue_head + queue_count++) % QUEUE] = in;
    pthread_mutex_unlock(&lock);
    return out;
}

static void *run(void *argument) {
    size_t self = (size_t)argument, kept_count = 0;
    uint32_t seed = 2463534242u + (uint32_t)self * 7919u;
    for (int i = 0; i < ROUNDS; i++) {
        size_t bytes = 1 + next_random(&seed) % 2000;
        struct parcel old = exchange((struct parcel){make_parcel(bytes), bytes});
        if (old.block) {
            free(old.block);
            died(&passed, old.bytes);
        }
        if (i % KEEP_ONE_IN == 0)
            kept[self][kept_count++] = keep_in_thread(1 + next_random(&seed) % 500);
    }
    return NULL;
}

int main(void) {
    struct site *sites[] = {&passed, &kept_by_thread};
    pthread_t threads[THREADS];
    if (!wait_for_line()) return 1;
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i) != 0) return 1;
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    print_truth("threads", sites, 2);
    wait_for_line();
    return 0;
}
