/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists and dicts that processes share. A dict of votes, in it a list for each fruit; two other
 * processes find it by its name, and vote.
 */
#include "must.h"
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

static tarn_object *fruit(tarn_object *votes, const char *name)
{
	tarn_object *list;
	must(tarn_dict_get_object(votes, name, &list)); /* the same list in every process */
	return list;
}

static int vote(const char *server, const char *name)
{
	tarn_client *client;
	tarn_object *votes, *list;
	must(tarn_client_open(server, NULL, &client));
	must(tarn_object_lookup(client, "votes", TARN_FOREVER, &votes));
	must(tarn_list_appendf(fruit(votes, name), "{s:i s:s}", "pid", (int)getpid(), "comment", "sweet"));
	if (tarn_dict_get_object(votes, "stone", &list) < 0)
		tarn_error_print(stdout);
	tarn_client_close(client);
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "apple", "pear" };
	tarn_object *votes, *list, *copy;
	tarn_server *server;
	tarn_client *client;
	uint64_t n = 0;
	int pid;

	if (argc == 3)
		return vote(argv[1], argv[2]);
	must_begin(&server, &client);
	must(tarn_dict_new(client, &votes));
	must(tarn_object_publish(votes, "votes", 0));
	for (int k = 0; k < 2; k++) {
		must(tarn_list_new(client, &list));
		must(tarn_dict_setf(votes, "sO", names[k], list)); /* which holds it */
	}
	must(tarn_dict_copy(votes, &copy)); /* as it is now, with the same lists */
	for (int k = 0; k < 2; k++) {
		const char *arguments[] = { argv[0], tarn_server_name(server), names[k], NULL };
		must(-posix_spawn(&pid, "/proc/self/exe", NULL, NULL, (char **)(uintptr_t)arguments, environ));
		waitpid(pid, NULL, 0);
		must(tarn_list_len(fruit(copy, names[k]), &n));
		printf("%s: %d\n", names[k], (int)n);
	}
	must_end(server, client);
	return n != 1;
}
