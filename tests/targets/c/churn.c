/* churn THREADS: malloc and free without end, until a line or the end of stdin.
 * Prints its speed as a JSON line every 100 ms: iterations per second of the clock, and per
 * second of CPU time, which does not suffer when the machine has other work. */
#include "truth.h"
#include <poll.h>
#include <pthread.h>
#include <time.h>

enum { MAX_THREADS = 64, BATCH = 64, WINDOW_MS = 100 };

static struct site churned = {.function = "malloc_and_free"};
static _Atomic int stop;
static struct {
    _Atomic long iterations;
    char apart[120]; /* one cache line each */
} progress[MAX_THREADS];

NOINLINE static void malloc_and_free(size_t bytes) {
    void *block = malloc(bytes);
    *(volatile char *)block = 1;
    free(block);
    BARRIER();
}

static void *run(void *argument) {
    size_t self = (size_t)argument;
    while (!stop) {
        for (size_t i = 0; i < BATCH; i++) malloc_and_free(32 + 16 * i);
        progress[self].iterations += BATCH;
    }
    return NULL;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    struct site *sites[] = {&churned};
    pthread_t threads[MAX_THREADS];
    long count = argc > 1 ? atol(argv[1]) : 1;
    if (count < 1 || count > MAX_THREADS) return 64;
    if (!wait_for_line()) return 1;
    for (long i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i) != 0) return 1;

    struct pollfd input = {.fd = 0, .events = POLLIN};
    long last = 0;
    double last_wall = seconds(CLOCK_MONOTONIC), last_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (poll(&input, 1, WINDOW_MS) == 0) {
        long sum = 0;
        for (long i = 0; i < count; i++) sum += progress[i].iterations;
        double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        char line[160];
        int length = snprintf(line, sizeof line,
            "{\"iterations\":%ld,\"iterations_per_s\":%.0f,\"iterations_per_cpu_s\":%.0f}\n", sum,
            (double)(sum - last) / (wall - last_wall), (double)(sum - last) / (cpu - last_cpu));
        write_all(line, (size_t)length);
        last = sum, last_wall = wall, last_cpu = cpu;
    }
    stop = 1;
    for (long i = 0; i < count; i++) pthread_join(threads[i], NULL);
    print_truth("churn", sites, 1);
    return 0;
}
