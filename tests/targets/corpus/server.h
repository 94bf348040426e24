/*
 * What the C servers of the corpus share: their door and their load. Same protocol as serving.py:
 * a ready line as JSON, POST /turn, GET /truth, the end with stdin. One connection is served at a
 * time by each of two threads: the load's, and whoever else asks.
 *
 * Nothing here allocates once a server is ready.
 */
#ifndef OUTLIVE_CORPUS_SERVER_H
#define OUTLIVE_CORPUS_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define SERVING_THREADS 2
#define REQUEST_BYTES 8192

static struct {
    int leak, no_load;
    double leak_bytes_per_s, churn_bytes_per_s, turns_per_s;
    int port;
} options = {0, 0, 1e6, 2e6, 40, 0};

/* What a server defines. `turn` is called by one thread at a time. */
static void turn(uint64_t number);
static int truth(char *text, size_t room);

static int listener;
static uint64_t turns;
static pthread_mutex_t turning = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The same everywhere, unlike rand(3). */
static uint32_t next_random(uint32_t *state) {
    uint32_t x = *state;
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    return *state = x;
}

/* Half of `mean` to half as much again. */
static size_t around(uint32_t *state, double mean) {
    return (size_t)(mean * (0.5 + next_random(state) / 4294967296.0));
}

static void fail(const char *what) {
    perror(what);
    exit(70);
}

static void read_options(int argc, char **argv) {
    struct { const char *name; double *value; } numbers[] = {
        {"--leak-bytes-per-second", &options.leak_bytes_per_s},
        {"--churn-bytes-per-second", &options.churn_bytes_per_s},
        {"--turns-per-second", &options.turns_per_s},
    };
    for (int i = 1; i < argc; i++) {
        int known = 1;
        if (strcmp(argv[i], "--leak") == 0) options.leak = 1;
        else if (strcmp(argv[i], "--no-load") == 0) options.no_load = 1;
        else if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) options.port = atoi(argv[++i]);
        else known = 0;
        for (size_t j = 0; j < 3 && !known && i + 1 < argc; j++)
            if (strcmp(argv[i], numbers[j].name) == 0) *numbers[j].value = atof(argv[++i]), known = 1;
        if (!known) fprintf(stderr, "unknown option %s\n", argv[i]), exit(64);
    }
}

static void write_all(int to, const char *text, size_t length) {
    while (length > 0) {
        ssize_t wrote = send(to, text, length, MSG_NOSIGNAL);
        if (wrote <= 0) return;
        text += wrote, length -= (size_t)wrote;
    }
}

/* Reads until the end of a head and the body that its length announces; 0 at the end. */
static size_t read_message(int from, char *text, size_t room) {
    size_t used = 0;
    while (used + 1 < room) {
        ssize_t got = recv(from, text + used, room - 1 - used, 0);
        if (got <= 0) return 0;
        used += (size_t)got;
        text[used] = 0;
        char *end = strstr(text, "\r\n\r\n");
        if (end == NULL) continue;
        char *length = strcasestr(text, "content-length:");
        size_t body = length != NULL && length < end ? (size_t)atol(length + 15) : 0;
        if (used >= (size_t)(end + 4 - text) + body) return used;
    }
    return 0;
}

static void answer(int to, const char *body) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                               "Content-Length: %zu\r\n\r\n";
    char text[REQUEST_BYTES + sizeof head + 24];
    int length = snprintf(text, sizeof text, head, strlen(body));
    length += snprintf(text + length, sizeof text - (size_t)length, "%s", body);
    write_all(to, text, (size_t)length);
}

static void *serve(void *unused) {
    (void)unused;
    char request[REQUEST_BYTES], body[REQUEST_BYTES];
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        while (read_message(client, request, sizeof request) > 0) {
            pthread_mutex_lock(&turning);
            if (strncmp(request, "POST /turn ", 11) == 0) {
                turn(turns++);
                snprintf(body, sizeof body, "{\"turn\":%llu}", (unsigned long long)turns);
            } else {
                int used = snprintf(body, sizeof body, "{\"leak\":%s,\"now_ns\":%llu,\"turns\":%llu,"
                    "\"libc_bytes\":%zu,", options.leak ? "true" : "false",
                    (unsigned long long)now_ns(), (unsigned long long)turns,
                    mallinfo2().uordblks + mallinfo2().hblkhd);
                used += truth(body + used, sizeof body - (size_t)used - 2);
                snprintf(body + used, sizeof body - (size_t)used, "}");
            }
            pthread_mutex_unlock(&turning);
            answer(client, body);
            /* Who does not ask to keep the connection reads to its end. */
            if (strstr(request, "HTTP/1.0") != NULL) break;
        }
        close(client);
    }
    return NULL;
}

/* POST /turn at a fixed rate over one connection; does not catch up more than two seconds. */
static void *load(void *address) {
    static const char request[] = "POST /turn HTTP/1.1\r\nHost: corpus\r\nContent-Length: 2\r\n\r\n{}";
    char text[REQUEST_BYTES];
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(server, address, sizeof(struct sockaddr_in)) != 0) fail("connecting to itself");
    uint64_t due = now_ns(), pause = (uint64_t)(1e9 / options.turns_per_s);
    for (;;) {
        uint64_t now = now_ns();
        due += pause;
        if (now > due + 2000000000u) due = now - 2000000000u;
        struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        write_all(server, request, sizeof request - 1);
        if (read_message(server, text, sizeof text) == 0) fail("the server's answer");
    }
    return NULL;
}

static void start(void *(*work)(void *), void *with) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, with) != 0) fail("starting a thread");
}

/* Serves until stdin closes. */
static int run(void) {
    static struct sockaddr_in address;
    socklen_t length = sizeof address;
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)options.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("binding");
    if (listen(listener, 16) != 0) fail("listening");
    getsockname(listener, (struct sockaddr *)&address, &length);
    for (int i = 0; i < SERVING_THREADS; i++) start(serve, NULL);
    printf("{\"ready\":true,\"host\":\"127.0.0.1\",\"port\":%d,\"pid\":%d}\n",
           ntohs(address.sin_port), (int)getpid());
    fflush(stdout);
    if (!options.no_load) start(load, &address);
    char byte;
    while (read(0, &byte, 1) > 0) {}
    _exit(0);
}

#endif
