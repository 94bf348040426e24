/* Allocates at a given rate, holds a given number of blocks, has a given number of stacks: `rate`.
 *
 * Prints "ready PID" once, and answers each line on stdin with a line of JSON when it is done:
 *
 *     hold N      N more blocks of 32 bytes are alive
 *     stacks N    a block has come and gone by each of N stacks, of 20 frames
 *     rate N      from now on a thread makes and frees N blocks a second (0: none)
 *     count       what that thread has made so far
 *
 * Nothing else is allocated: the pointers lie in a mapping. Ends when stdin does.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_BYTES = 32, TICK_NS = 1000000, MAX_HELD = 20000000, TURNS = 18 };

#define KEEP(pointer) __asm__ volatile("" : "+r"(pointer) : : "memory")

static void **held;
static size_t held_count;
static _Atomic uint64_t made;
static _Atomic uint64_t per_second;

static void pair(void)
{
	void *block = malloc(BLOCK_BYTES);

	KEEP(block);
	free(block);
}

/* One of two calls each: 2^TURNS paths. */
__attribute__((noipa)) static void turn(unsigned path, int left)
{
	if (left == 0) {
		pair();
	} else if (path & 1) {
		turn(path >> 1, left - 1);
		__asm__ volatile("nop # 1" : : : "memory");
	} else {
		turn(path >> 1, left - 1);
		__asm__ volatile("nop # 0" : : : "memory");
	}
}

static int hold(size_t count)
{
	for (size_t i = 0; i < count && held_count < MAX_HELD; i++)
		if ((held[held_count++] = malloc(BLOCK_BYTES)) == NULL)
			return 0;
	return 1;
}

static void *work(void *unused)
{
	struct timespec due;
	double owed = 0;

	(void)unused;
	clock_gettime(CLOCK_MONOTONIC, &due);
	for (;;) {
		due.tv_nsec += TICK_NS;
		due.tv_sec += due.tv_nsec / 1000000000;
		due.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
		owed += (double)atomic_load(&per_second) * TICK_NS / 1e9;
		for (; owed >= 1; owed--) {
			pair();
			atomic_fetch_add(&made, 1);
		}
	}
	return NULL;
}

int main(void)
{
	char line[64], verb[16];
	unsigned long long number;
	pthread_t thread;

	held = mmap(NULL, MAX_HELD * sizeof *held, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (held == MAP_FAILED || pthread_create(&thread, NULL, work, NULL) != 0)
		return 70;
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		number = 0;
		if (sscanf(line, "%15s %llu", verb, &number) < 1)
			return 64;
		if (strcmp(verb, "hold") == 0 && !hold(number))
			return 71;
		if (strcmp(verb, "stacks") == 0)
			for (unsigned path = 0; path < number; path++)
				turn(path, TURNS);
		if (strcmp(verb, "rate") == 0)
			atomic_store(&per_second, number);
		printf("{\"held\":%zu,\"made\":%llu}\n", held_count,
		       (unsigned long long)atomic_load(&made));
		fflush(stdout);
	}
	_exit(0);
}
