/*
 * A message server: each turn brings a batch of messages, each in a block of its own. One in 1,000
 * is malformed; with `--leak` the path that rejects it forgets to free it. That is the leak, and
 * the only one: of the very site that frees the other 999.
 *
 * The bytes that pass are a thousand times those that stay: 1 MB per second leaks amid 1 GB per
 * second, which costs little because a good message's payload is not touched.
 */
#define _GNU_SOURCE
#include "server.h"

#define MALFORMED_EVERY 1000
#define SESSIONS 64
#define HEADER_BYTES 64

static uint64_t messages, kept_bytes, kept_blocks, last_ns;
static double message_bytes, messages_per_turn, due;
static uint32_t seed = 20777;

struct message {
    uint64_t number;
    size_t length;
    int malformed;
    char payload[];
};

enum { RETAINING_LINE = __LINE__ + 4 };

/* Takes a message in. A malformed one has been read to its end by the time one knows. */
static NOINLINE struct message *receive(uint64_t number, size_t length) {
    struct message *message = malloc(length); /* retains */
    if (message == NULL) fail("malloc");
    message->number = number;
    message->length = length;
    message->malformed = number % MALFORMED_EVERY == MALFORMED_EVERY - 1;
    memset(message->payload, (int)number, message->malformed ? length - sizeof *message : HEADER_BYTES);
    return message;
}

static NOINLINE int handle(struct message *message) {
    if (message->malformed) {
        if (options.leak) {
            kept_bytes += message->length;
            kept_blocks += 1;
            last_ns = now_ns();
            return -1; /* forgets it */
        }
        free(message);
        return -1;
    }
    int sum = message->payload[message->number % HEADER_BYTES];
    free(message);
    return sum;
}

/* What a session keeps is replaced by its next message: innocent, and never more than this. */
static void *sessions[SESSIONS];

static NOINLINE void note(uint64_t number) {
    void **slot = &sessions[number % SESSIONS];
    free(*slot);
    *slot = malloc(around(&seed, 24000));
    if (*slot == NULL) fail("malloc");
    memset(*slot, 1, 256);
}

static void turn(uint64_t number) {
    for (due += messages_per_turn; due >= 1; due -= 1) {
        handle(receive(messages, around(&seed, message_bytes)));
        messages += 1;
    }
    double noted = options.churn_bytes_per_s / options.turns_per_s / 24000;
    for (int i = 0; i < (int)noted + 1; i++) note(number * 31 + (uint64_t)i);
}

static int truth(char *text, size_t room) {
    return snprintf(text, room,
        "\"retained\":[{\"function\":\"receive\",\"file\":\"%s\",\"lines\":[%d],\"bytes\":%llu,"
        "\"blocks\":%llu,\"last_ns\":%llu}],\"companions\":[],\"innocent\":{\"messages\":%llu}",
        __FILE__, RETAINING_LINE, (unsigned long long)kept_bytes, (unsigned long long)kept_blocks,
        (unsigned long long)last_ns, (unsigned long long)messages);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    /* All from the heap: a mapping for each would be another program. */
    mallopt(M_MMAP_THRESHOLD, 1 << 22);
    mallopt(M_TRIM_THRESHOLD, 1 << 26);
    double messages_per_s = options.leak_bytes_per_s > 2e5 ? 8000 : 1200;
    messages_per_turn = messages_per_s / options.turns_per_s;
    message_bytes = options.leak_bytes_per_s * MALFORMED_EVERY / messages_per_s;
    return run();
}
