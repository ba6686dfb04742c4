/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: a process of its own that receives texts by reference, counts their words where
 * they are, and sends back blocks with the counts. It can be killed at any instruction:
 * what it held and what was on its way to it returns to the server.
 */
#include "wordcount/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "wordcount/words.h"

/* Writes the counts into a new block. */
static tarn_block *answer_for(tarn_client *client, const tarn_block *text,
			      const struct words *words)
{
	/* If the memory is full, answers that the parent has read will soon make room. */
	const tarn_block_options patient = { .timeout_ns = INT64_C(30000000000) };
	struct answer *answer;
	tarn_block *block;

	must(tarn_block_new_with(client, sizeof *answer + words->n * sizeof answer->word[0],
				 &patient, &block), "worker: memory for an answer");
	answer = tarn_block_data(block);
	answer->text_id = tarn_block_id(text);
	answer->own_id = tarn_block_id(block);
	answer->n = words->n;
	for (size_t i = 0; i < words->n; i++) {
		answer->word[i].at = words->word[i].first;
		answer->word[i].length = words->word[i].length;
		answer->word[i].count = words->word[i].count;
	}
	return block;
}

/* Finds a channel and takes one end of it. */
static tarn_channel *bound(tarn_client *client, const char *name, enum tarn_channel_end end)
{
	tarn_channel *channel;
	int r = tarn_channel_open(client, name, 0, &channel);

	if (r == -ENOENT) /* the work was over before we came */
		exit(0);
	must(r, "worker: find a channel");
	must(tarn_channel_bind(channel, end), "worker: bind a channel");
	return channel;
}

int worker_main(const char *server, const char *tasks_name, const char *answers_name)
{
	struct words words;
	tarn_client *client;
	tarn_channel *tasks, *answers;
	tarn_block *text;
	uint64_t number;
	int r;

	/* Die with the parent. If it is dead already, so is its server, and nothing works. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "wordcount-work");

	must(tarn_client_open(server, NULL, &client), "worker: attach");
	tasks = bound(client, tasks_name, TARN_CONSUMER);
	answers = bound(client, answers_name, TARN_PRODUCER);

	words_init(&words);
	while ((r = tarn_channel_recv(tasks, &text, &number, TARN_FOREVER)) == 0) {
		words_clear(&words);
		words_count(&words, tarn_block_data(text), tarn_block_size(text));
		/* Sends our reference to the answer along; we do not need it any more. */
		must(tarn_channel_give(answers, answer_for(client, text, &words), number,
				       TARN_FOREVER), "worker: answer");
		tarn_block_unref(text);
	}
	if (r != -TARN_ECLOSED) /* which says that the parent has no more */
		must(r, "worker: next task");
	words_fini(&words);
	tarn_channel_unref(tasks);
	tarn_channel_unref(answers);
	tarn_client_close(client);
	return 0;
}
