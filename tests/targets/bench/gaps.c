/* 64 threads that allocate and record how long they stand still: `gaps`.
 *
 * Prints "ready PID" once, and for each line on stdin, as JSON, the longest gap and the longest
 * stall (gaps.h) of any thread since the line before. One thread works without a pause; the others
 * work for some microseconds every few milliseconds, as threads of a server do, since 64 busy
 * ones would only measure how two CPUs are shared out. Ends when stdin does.
 */
#include "gaps.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { THREADS = 64, PAIRS = 5, PAUSE_NS = 5000000, BLOCK_BYTES = 64 };

static _Atomic uint64_t longest_gap_ns, longest_stall_ns, rounds;

static void raise_to(_Atomic uint64_t *most, uint64_t value)
{
	uint64_t seen = atomic_load(most);

	while (value > seen && !atomic_compare_exchange_weak(most, &seen, value)) {
	}
}

static void *work(void *pause)
{
	struct timespec asleep = {0, PAUSE_NS};
	struct gaps gaps;

	gaps_open(&gaps);
	for (;;) {
		uint64_t gap_ns, stall_ns;

		gaps_begin(&gaps);
		for (int i = 0; i < PAIRS; i++) {
			void *block = malloc(BLOCK_BYTES);

			__asm__ volatile("" : "+r"(block) : : "memory");
			free(block);
		}
		gaps_end(&gaps, &gap_ns, &stall_ns);
		raise_to(&longest_gap_ns, gap_ns);
		raise_to(&longest_stall_ns, stall_ns);
		atomic_fetch_add(&rounds, 1);
		if (pause != NULL)
			nanosleep(&asleep, NULL);
	}
	return NULL;
}

int main(void)
{
	char line[64];
	pthread_t thread;

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, work, i == 0 ? NULL : line) != 0)
			return 72;
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		printf("{\"gap_ms\":%.3f,\"stall_ms\":%.3f,\"rounds\":%llu}\n",
		       (double)atomic_exchange(&longest_gap_ns, 0) / 1e6,
		       (double)atomic_exchange(&longest_stall_ns, 0) / 1e6,
		       (unsigned long long)atomic_exchange(&rounds, 0));
		fflush(stdout);
	}
	_exit(0);
}
