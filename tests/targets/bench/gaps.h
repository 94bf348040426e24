/* A thread's own record of how long it stood still.
 *
 * A gap is the time between two looks at the clock with a little work in between. What a thread
 * waited in it for a CPU that others had is told by the kernel (schedstat(5), the second number);
 * a stall is a gap without that.
 */
#ifndef OUTLIVE_BENCH_GAPS_H
#define OUTLIVE_BENCH_GAPS_H

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct gaps {
	int schedstat;
	uint64_t began_ns, waited_ns;
};

static uint64_t gaps_now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static uint64_t gaps_waited_ns(const struct gaps *gaps)
{
	char text[128], *end;
	ssize_t length = pread(gaps->schedstat, text, sizeof text - 1, 0);

	if (length <= 0)
		_exit(70);
	text[length] = 0;
	strtoull(text, &end, 10);
	return strtoull(end, NULL, 10);
}

/* To be called by the thread itself, once. */
static void gaps_open(struct gaps *gaps)
{
	gaps->schedstat = open("/proc/thread-self/schedstat", O_RDONLY);
	if (gaps->schedstat < 0)
		_exit(71);
}

static void gaps_begin(struct gaps *gaps)
{
	gaps->waited_ns = gaps_waited_ns(gaps);
	gaps->began_ns = gaps_now_ns();
}

/* Nanoseconds since the beginning: all, and without what the thread waited for a CPU. */
static void gaps_end(struct gaps *gaps, uint64_t *gap_ns, uint64_t *stall_ns)
{
	uint64_t gap = gaps_now_ns() - gaps->began_ns;
	uint64_t waited = gaps_waited_ns(gaps) - gaps->waited_ns;

	*gap_ns = gap;
	*stall_ns = gap > waited ? gap - waited : 0;
}

#endif
