/* A malloc/free pair at the end of a stack, timed on request.
 *
 * Prints "ready PID" once. For each line "round N" on stdin prints the nanoseconds a pair took
 * with N functions of this program on the stack, 3 at least: the median over several batches, so
 * that one interruption does not count. "rotate N" is the same with 1,024 stacks in turn, each
 * differing in the return addresses of its last frames, so that none was seen lately (N is 8 at
 * least). Ends when stdin does. Build without sibling calls: the frames are real.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 9, PAIRS_PER_BATCH = 5120, BLOCK_BYTES = 64 };

/* Each turn takes one of four calls: 4^5 = 1,024 paths. */
enum { TURNS = 5, STACKS = 1 << (2 * TURNS) };

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

static void one_pair(void)
{
	void *block = malloc(BLOCK_BYTES);

	KEEP(block);
	free(block);
}

/* One call of its own for each value of two bits; the assembly keeps them from being merged. */
#define FORK(path, call)                                                                           \
	switch ((path) & 3) {                                                                      \
	case 0: call; __asm__ volatile("nop # 0" : : : "memory"); break;                           \
	case 1: call; __asm__ volatile("nop # 1" : : : "memory"); break;                           \
	case 2: call; __asm__ volatile("nop # 2" : : : "memory"); break;                           \
	default: call; __asm__ volatile("nop # 3" : : : "memory");                                 \
	}

__attribute__((noipa)) static void turn(unsigned path, int left)
{
	if (left > 1) {
		FORK(path, turn(path >> 2, left - 1));
	} else {
		FORK(path, one_pair());
	}
}

__attribute__((noipa)) static double rotation(void)
{
	double begin = now_ns();

	for (unsigned i = 0; i < PAIRS_PER_BATCH; i++)
		turn(i % STACKS, TURNS);
	return (now_ns() - begin) / PAIRS_PER_BATCH;
}

__attribute__((noipa)) static double descend(int levels, double (*measure)(void))
{
	double ns = levels > 0 ? descend(levels - 1, measure) : measure();

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
	char line[64], kind[16];

	/* Own buffers: stdio allocates nothing while probes are in place. */
	setvbuf(stdin, line_buffer, _IOLBF, sizeof line_buffer);
	setvbuf(stdout, out_buffer, _IOLBF, sizeof out_buffer);
	printf("ready %d\n", (int)getpid());
	while (fgets(line, sizeof line, stdin)) {
		int frames, rotates;

		if (sscanf(line, "%15s %d", kind, &frames) != 2)
			return 2;
		rotates = strcmp(kind, "rotate") == 0;
		/* main, the first descend and what measures are there in any case. */
		frames -= 3 + (rotates ? TURNS : 0);
		if (frames < 0)
			return 2;
		for (int i = 0; i < BATCHES; i++)
			ns[i] = descend(frames, rotates ? rotation : pairs);
		qsort(ns, BATCHES, sizeof *ns, ascending);
		printf("%.1f\n", ns[BATCHES / 2]);
	}
	return 0;
}
