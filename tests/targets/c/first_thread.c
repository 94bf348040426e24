/* A process whose first thread ends while another goes on allocating: the kernel takes the probes
 * out then. Waits for a line, ends the first thread, and prints its truth a second later.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *go_on(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++) {
		void *volatile kept = malloc(1000);

		(void)kept;
		usleep(100000);
	}
	printf("{\"allocated\": 20}\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	_exit(0);
}

int main(void)
{
	pthread_t thread;

	while (getchar() != '\n')
		;
	if (pthread_create(&thread, NULL, go_on, NULL) != 0)
		return 1;
	pthread_exit(NULL);
}
