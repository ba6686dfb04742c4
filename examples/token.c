/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reference as text. The parent writes a token of a block to the standard input of
 * another program, which gets the block from it and sorts the numbers there in place.
 */
#include "must.h"

static tarn_client *client; /* each process has its own of these */
static tarn_block *numbers;
static tarn_token token;
static char text[TARN_TOKEN_TEXT_BYTES];

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int sort(const char *server)
{
	must(tarn_client_open(server, NULL, &client));
	must(scanf("%134s", text) == 1 ? tarn_token_parse(text, &token) : -EINVAL);
	must(tarn_block_import(client, &token, &numbers));
	qsort(tarn_block_data(numbers), tarn_block_size(numbers) / sizeof(int), sizeof(int), by_value);
	tarn_client_close(client); /* and the block with it */
	return 0;
}

int main(int argc, char **argv)
{
	TARN_AUTO(tarn_server) server = NULL;
	char command[4096];
	if (argc == 2)
		return sort(argv[1]);
	must(tarn_server_start(NULL, &server));
	must(tarn_client_open(tarn_server_name(server), NULL, &client));
	must(tarn_block_new(client, 1000 * sizeof(int), 0, &numbers));
	for (int i = 0; i < 1000; i++)
		((int *)tarn_block_data(numbers))[i] = i * 617 % 1000;
	must(tarn_block_export(numbers, NULL, &token)); /* good for one import */
	tarn_token_format(&token, text);
	snprintf(command, sizeof command, "'%s' '%s'", argv[0], tarn_server_name(server));
	FILE *sorter = popen(command, "w");
	int wrong = sorter == NULL || fputs(text, sorter) < 0 || pclose(sorter) != 0;
	for (int i = 0; i < 1000; i++)
		wrong |= ((int *)tarn_block_data(numbers))[i] != i;
	printf("%.20s...: %s\n", text, wrong ? "not sorted" : "sorted by another program");
	tarn_client_close(client);
	return tarn_server_shutdown(server, TARN_FOREVER) || wrong;
}
