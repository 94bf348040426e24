/* An HTTP server of eight threads: `server`. Each request is a document of twelve fields: they are
 * copied one by one, written into a reply of 8 KiB, which is signed, and all is freed again. That
 * is some 14 blocks and 0.1 ms of work each.
 *
 * Prints its port as JSON, serves until stdin closes. All threads wait at one epoll instance;
 * connections are kept.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 8, FIELDS = 12, FIELD_BYTES = 600, REPLY_BYTES = 8192, SIGNING_PASSES = 12 };

static int listener, events;

static void fail(const char *what)
{
	perror(what);
	exit(70);
}

static uint64_t sign(const char *text, size_t length)
{
	uint64_t hash = 14695981039346656037u;

	for (int pass = 0; pass < SIGNING_PASSES; pass++)
		for (size_t i = 0; i < length; i++)
			hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
	return hash;
}

static __attribute__((noinline)) char *copy_field(const char *request, int number)
{
	size_t bytes = FIELD_BYTES - 40 * (size_t)number;
	char *field = malloc(bytes);

	if (field == NULL)
		fail("malloc");
	snprintf(field, bytes, "field %d of %.*s", number, 200, request);
	return field;
}

static __attribute__((noinline)) char *compose(char **fields, size_t *length)
{
	char *reply = malloc(REPLY_BYTES);

	if (reply == NULL)
		fail("malloc");
	for (size_t i = 0; i < REPLY_BYTES; i++)
		reply[i] = fields[i % FIELDS][i / FIELDS % 32];
	*length = REPLY_BYTES;
	return reply;
}

static int send_all(int to, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(to, text, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return 0;
		text += sent;
		length -= (size_t)sent;
	}
	return 1;
}

static __attribute__((noinline)) int answer(int client, const char *request)
{
	char *fields[FIELDS], *reply, *whole;
	size_t length;
	int head, ok;

	for (int i = 0; i < FIELDS; i++)
		fields[i] = copy_field(request, i);
	reply = compose(fields, &length);
	whole = malloc(length + 256);
	if (whole == NULL)
		fail("malloc");
	head = snprintf(whole, 256, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nX-Signature: %llx\r\n\r\n",
			length, (unsigned long long)sign(reply, length));
	memcpy(whole + head, reply, length);
	ok = send_all(client, whole, (size_t)head + length);
	free(whole);
	free(reply);
	for (int i = 0; i < FIELDS; i++)
		free(fields[i]);
	return ok;
}

static void await(int operation, int client)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = client};

	if (epoll_ctl(events, operation, client, &event) != 0)
		fail("epoll_ctl");
}

/* Requests are small and come whole. */
static void *serve(void *unused)
{
	char request[4096];

	(void)unused;
	for (;;) {
		struct epoll_event event;
		ssize_t got;

		if (epoll_wait(events, &event, 1, -1) != 1)
			continue;
		if (event.data.fd == listener) {
			int client = accept(listener, NULL, NULL);

			if (client >= 0)
				await(EPOLL_CTL_ADD, client);
			await(EPOLL_CTL_MOD, listener);
			continue;
		}
		got = recv(event.data.fd, request, sizeof request - 1, 0);
		if (got > 0) {
			request[got] = 0;
			if (answer(event.data.fd, request)) {
				await(EPOLL_CTL_MOD, event.data.fd);
				continue;
			}
		}
		close(event.data.fd);
	}
	return NULL;
}

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof address;
	pthread_t thread;
	char byte;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	events = epoll_create1(0);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0)
		fail("listening");
	getsockname(listener, (struct sockaddr *)&address, &length);
	await(EPOLL_CTL_ADD, listener);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, serve, NULL) != 0)
			fail("starting a thread");
	printf("{\"port\":%d,\"pid\":%d}\n", ntohs(address.sin_port), (int)getpid());
	fflush(stdout);
	while (read(0, &byte, 1) > 0) {
	}
	_exit(0);
}
