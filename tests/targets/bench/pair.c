/* A malloc/free pair at the end of a stack, timed on request.
 *
 * Prints "ready PID" once. For each line "round N" on stdin prints the nanoseconds a pair took
 * with N functions of this program on the stack, 3 at least: the median over several batches, so
 * that one interruption does not count. Ends when stdin does. Build without sibling calls: the
 * frames are real.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 9, PAIRS_PER_BATCH = 20000, BLOCK_BYTES = 64 };

/* Keeps the compiler from removing the pair, and from knowing what became of the pointer. */
#define KEEP(pointer) __asm__ volatile("" : "+r"(pointer) : : "memory")

static double now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e9 + at.tv_nsec;
}

__attribute__((noipa)) static double pairs(void)
{
	double begin = now_ns();

	for (int i = 0; i < PAIRS_PER_BATCH; i++) {
		void *block = malloc(BLOCK_BYTES);

		KEEP(block);
		free(block);
	}
	return (now_ns() - begin) / PAIRS_PER_BATCH;
}

__attribute__((noipa)) static double descend(int levels)
{
	double ns = levels > 1 ? descend(levels - 1) : pairs();

	__asm__ volatile("" : : : "memory"); /* work after the call: no tail call */
	return ns;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	static char line_buffer[BUFSIZ], out_buffer[BUFSIZ];
	double ns[BATCHES];
	char line[64];

	/* Own buffers: stdio allocates nothing while probes are in place. */
	setvbuf(stdin, line_buffer, _IOLBF, sizeof line_buffer);
	setvbuf(stdout, out_buffer, _IOLBF, sizeof out_buffer);
	printf("ready %d\n", (int)getpid());
	while (fgets(line, sizeof line, stdin)) {
		int frames;

		/* Of them pairs and main are there in any case. */
		if (sscanf(line, "round %d", &frames) != 1 || frames < 3)
			return 2;
		for (int i = 0; i < BATCHES; i++)
			ns[i] = descend(frames - 2);
		qsort(ns, BATCHES, sizeof *ns, ascending);
		printf("%.1f\n", ns[BATCHES / 2]);
	}
	return 0;
}
