/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes, one block. The parent writes a letter into shared memory and sends its
 * reference to it; the child reads it where it is, and when it drops it, it is freed.
 */
#define _GNU_SOURCE /* environ */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tarn/tarn.h>

static tarn_client *client; /* each process has its own of these three */
static tarn_channel *letters;
static tarn_block *letter;

static void must(int r)
{
	if (r >= 0)
		return;
	fprintf(stderr, "hello: %s\n", tarn_error_last()->message);
	exit(1); /* a server that we started ends with us */
}

static int child(const char *server)
{
	must(tarn_client_open(server, NULL, &client));
	must(tarn_channel_open(client, "letters", TARN_FOREVER, &letters));
	must(tarn_channel_bind(letters, TARN_CONSUMER));
	must(tarn_channel_recv(letters, &letter, NULL, TARN_FOREVER));
	printf("The child reads: %s\n", (const char *)tarn_block_data(letter));
	tarn_block_unref(letter);
	tarn_client_close(client); /* and the channel with it */
	return 0;
}

int main(int argc, char **argv)
{
	TARN_AUTO(tarn_server) server = NULL;
	int status, pid;

	if (argc == 2)
		return child(argv[1]);
	must(tarn_server_start(NULL, &server));
	must(tarn_client_open(tarn_server_name(server), NULL, &client));
	must(tarn_channel_new(client, 8, "letters", &letters));
	must(tarn_channel_bind(letters, TARN_PRODUCER));
	char *arguments[] = { argv[0], (char *)(uintptr_t)tarn_server_name(server), NULL };
	must(-posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ));
	must(tarn_block_new(client, 100, 0, &letter));
	strcpy(tarn_block_data(letter), "Hello from the parent.");
	must(tarn_channel_give(letters, letter, 0, TARN_FOREVER)); /* our reference goes along */
	waitpid(pid, &status, 0);
	tarn_client_close(client);
	return tarn_server_shutdown(server, TARN_FOREVER) || status;
}
