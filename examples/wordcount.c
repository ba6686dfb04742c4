/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the words of many text files with several processes that share one memory.
 *
 *   parent   reads the files into blocks of shared memory, once, and puts references to them into a
 *            managed queue.
 *   worker   gets one from the queue, counts its words where they are, and sets what it found,
 *            a reference to a block of its own, in a managed dict.
 *   parent   takes that out of the dict and adds it up.
 *
 * Half-way the parent kills a worker with SIGKILL, in the middle of its work. A text is in
 * the queue until it is acknowledged, so the queue gives the one that the worker had to another:
 * none is lost. And results have numbers, so none counts twice. In the end the counts must be
 * those that a single process gets.
 *
 * Read it from the top: first what runs in a worker, then what runs in the parent. The folder
 * wordcount/ has the rest: it finds files, reads and cuts them (pieces.c), counts
 * (words.c), asks the server what the dead worker held (victim.c), and prints.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <tarn/tarn.h>

#include "wordcount/answer.h"
#include "wordcount/pieces.h"
#include "wordcount/show.h"
#include "wordcount/texts.h"
#include "wordcount/victim.h"
#include "wordcount/words.h"

#define MILLISECOND INT64_C(1000000)
#define SECOND (1000 * MILLISECOND)
#define DEATHS_MAX 100 /* then we give up replacing workers */

/* ---- in a worker ---- */

/* Counts one text and sets the result, under the text's number, in the dict. */
static int count_one(tarn_worker *worker, const tarn_parcel *item, struct words *words,
		     tarn_object *results)
{
	tarn_block *block, *answer;
	uint64_t number, at, bytes;
	/* The handle of the block is the item's, and ends with it. */
	int r = tarn_parcel_get(item, "QBQQ", &number, &block, &at, &bytes);

	if (r < 0)
		return r;
	tarn_log(TARN_LOG_DEBUG, "wordcount", "text %llu, %llu bytes", (unsigned long long)number,
		 (unsigned long long)bytes);
	words_clear(words);
	words_count(words, (const char *)tarn_block_data(block) + at, bytes);
	r = answer_new(tarn_worker_client(worker), block, words, &answer);
	if (r < 0)
		return r;
	r = tarn_dict_setf(results, "QB", number, answer);
	tarn_block_unref(answer); /* the dict has a reference of its own */
	return r;
}

/* A process of its own, which begins here: main() is not called in it. It can be killed
 * at any instruction. */
TARN_WORKER(count)
{
	tarn_object *texts, *results;
	unsigned long done = 0;
	struct words words;
	tarn_parcel item;
	int r = tarn_worker_get(worker, "OO", &texts, &results);

	words_init(&words);
	while (r == 0 && (r = tarn_queue_get(texts, &item, TARN_FOREVER)) == 0) {
		r = count_one(worker, &item, &words, results);
		tarn_parcel_fini(&item);
		/* Only now: if we die before, another worker gets the text. */
		if (r == 0)
			r = tarn_queue_task_done(texts);
		done++;
	}
	words_fini(&words);
	if (r != -TARN_ECLOSED) /* which says that the parent has no more */
		return r;
	tarn_log(TARN_LOG_INFO, "wordcount", "counted %lu texts", done);
	return 0;
}

/* ---- in the parent ---- */

struct worker {
	unsigned number; /* counts from 1; a replacement gets a new one */
	tarn_process *process;
	char said[LAST_RECORD_MAX]; /* its last record */
};

struct job {
	struct options options;
	struct texts texts;
	struct pieces pieces;
	struct words words;
	struct facts facts;
	tarn_server *server;
	tarn_client *client;
	tarn_inspector *inspector;
	tarn_object *queue, *results; /* texts to count; what was counted */
	struct worker worker[WORKERS_MAX];
	unsigned started, aimed_at;
	size_t files_done;
};

/* Every record that a worker logs arrives here, on a thread of the library's. */
static void hear(void *arg, const tarn_log_record *record)
{
	struct worker *worker = arg;

	snprintf(worker->said, sizeof worker->said, "%s", record->message);
	if (record->level <= TARN_LOG_INFO)
		show_record(record->process, record->message);
}

static void start_worker(struct job *job, struct worker *worker)
{
	char name[32];
	tarn_builder args;

	*worker = (struct worker){ .number = ++job->started };
	snprintf(name, sizeof name, "worker %u", worker->number);
	tarn_builder_init(&args);
	tarn_put(&args, "OO", job->queue, job->results);
	const tarn_log_handler log = { .level = TARN_LOG_DEBUG, .sink = hear, .arg = worker };
	const tarn_process_options options = { .entry = "count", .args = &args, .name = name,
					       .log = &log };
	must(tarn_process_spawn(job->client, &options, &worker->process), "start a worker");
	tarn_builder_fini(&args);
}

static void start(struct job *job)
{
	const tarn_server_options options = { .arena_bytes = job->options.arena_bytes };
	/* We wait until all texts are done (JOINABLE). A text is its worker's until that says
	 * that it is done; if it dies before, another gets it (REDELIVER). */
	const tarn_queue_options queue = { .flags = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER };
	double begin = now_s();

	must(tarn_server_start(&options, &job->server), "start a server");
	must(tarn_client_open(tarn_server_name(job->server), NULL, &job->client), "attach");
	must(tarn_inspector_open(tarn_server_name(job->server), SECOND, &job->inspector), "inspect");
	must(tarn_queue_new(job->client, &queue, &job->queue), "new queue");
	must(tarn_dict_new(job->client, &job->results), "new dict");
	for (unsigned i = 0; i < job->options.workers; i++)
		start_worker(job, &job->worker[i]);
	job->facts.startup_s = now_s() - begin;
}

/* Adds up one result. */
static void take_result(struct job *job, const tarn_parcel *result)
{
	tarn_block *answer;
	uint64_t number, copied;

	must(tarn_parcel_get(result, "QB", &number, &answer), "read a result");
	struct piece *piece = number < job->pieces.n ? &job->pieces.piece[number] : NULL;
	/* A worker that dies between its result and its acknowledgement leaves both: the result,
	 * and the text to another worker. So the second result is none. */
	if (piece != NULL && piece->counted)
		return;
	if (piece == NULL || !answer_add(answer, piece, &job->words, &copied))
		give_up("read a result", "it makes no sense");
	piece->counted = true;
	job->files_done += piece->files;
	job->facts.texts++;
	job->facts.answer_bytes += tarn_block_size(answer);
	job->facts.copied_bytes += copied;
}

/* Takes all results that are there out of the dict. */
static void take_results(struct job *job)
{
	tarn_parcel result;
	uint64_t n;

	for (must(tarn_dict_len(job->results, &n), "look at the dict"); n > 0; n--) {
		must(tarn_dict_popitem(job->results, &result), "take a result");
		take_result(job, &result);
		tarn_parcel_fini(&result);
	}
}

/* Another worker in the place of one that was killed, whoever did that. */
static void replace(struct job *job, struct worker *worker)
{
	int r = tarn_process_join(worker->process, TARN_FOREVER);

	if (tarn_process_exitcode(worker->process) >= 0) {
		must(r, "worker");
		give_up("worker", "ended before the work was done");
	}
	if (++job->facts.deaths > DEATHS_MAX)
		give_up("worker", tarn_error_last()->message); /* "... was killed by ..." */
	tarn_process_unref(worker->process);
	start_worker(job, worker);
}

/* Kills a worker at work. It is stopped first, so that what it holds can be looked up. */
static void kill_one(struct job *job)
{
	struct worker *worker = &job->worker[job->aimed_at++ % job->options.workers];
	struct victim *victim = &job->facts.victim;
	int pid = tarn_process_pid(worker->process);
	int64_t before = tarn_queue_redelivered(job->queue);
	siginfo_t stopped;

	must(tarn_process_signal(worker->process, SIGSTOP), "stop a worker");
	if (waitid(P_PID, (id_t)pid, &stopped, WSTOPPED) != 0)
		return; /* it is dead already */
	int client = victim_look(job->inspector, pid, victim);
	must(client, "look at the worker");
	if (victim->texts == 0) { /* not at work */
		must(tarn_process_signal(worker->process, SIGCONT), "let a worker go on");
		return;
	}
	must(tarn_process_kill(worker->process), "kill a worker");
	must(victim_wait(job->inspector, pid, client, victim), "wait for reclamation");
	tarn_process_join(worker->process, TARN_FOREVER); /* then all that it logged is here */
	/* Else it had just said that it is done with its text: then we try another. */
	if (tarn_queue_redelivered(job->queue) > before)
		victim->pid = pid;
	victim->worker = worker->number;
	memcpy(victim->said, worker->said, sizeof victim->said);
	replace(job, worker);
}

/* Puts texts of this round into the queue. */
static void put_texts(struct job *job, size_t begin, size_t end)
{
	for (size_t i = begin; i < end; i++) {
		const struct piece *piece = &job->pieces.piece[i];

		must(tarn_queue_putf(job->queue, TARN_FOREVER, "QBQQ", (uint64_t)i, piece->block,
				     (uint64_t)piece->at, (uint64_t)piece->bytes), "put a text");
	}
}

/* Has the texts of this round counted. If a worker is to be killed, half of them come when the
 * others are nearly done, and the worker is chosen right then: so there is one at work. */
static void count_round(struct job *job)
{
	bool kill = job->options.kill && job->facts.victim.pid == 0;
	size_t n = job->pieces.n, n_put = kill ? n / 2 : n;
	uint64_t before = job->facts.texts;
	double begin = now_s();
	bool more;
	int r;

	put_texts(job, 0, n_put);
	do {
		r = tarn_queue_join(job->queue, MILLISECOND);
		if (r != -ETIMEDOUT) /* not all done yet */
			must(r, "wait for the workers");
		take_results(job);
		for (unsigned i = 0; i < job->options.workers; i++)
			if (tarn_process_done(job->worker[i].process))
				replace(job, &job->worker[i]);
		more = kill && n_put < n && (r == 0 || job->facts.texts - before >= n / 4);
		if (more) {
			put_texts(job, n_put, n);
			n_put = n;
		}
		for (unsigned i = 0; kill && n_put == n && i < job->options.workers; i++) {
			kill_one(job);
			kill = job->facts.victim.pid == 0;
		}
		show_progress("counting", job->files_done, job->texts.n);
	} while (r == -ETIMEDOUT || more);
	show_progress(NULL, 0, 0);
	for (size_t i = 0; i < n; i++)
		if (!job->pieces.piece[i].counted)
			give_up("count", "a text was lost");
	job->facts.counting_s += now_s() - begin;
}

/* The same texts, from the same memory, in this process alone. */
static void count_alone(struct job *job, struct words *alone)
{
	double begin = now_s();

	for (size_t i = 0; i < job->pieces.n; i++)
		words_count(alone, piece_text(&job->pieces.piece[i]), job->pieces.piece[i].bytes);
	job->facts.alone_s += now_s() - begin;
}

static void finish(struct job *job)
{
	int64_t again = tarn_queue_redelivered(job->queue);
	tarn_stat stat;
	char *text;

	must(tarn_queue_close(job->queue), "close the queue"); /* workers hear that and return */
	for (unsigned i = 0; i < job->options.workers; i++) {
		tarn_process *process = job->worker[i].process;
		int r = tarn_process_join(process, TARN_FOREVER);

		if (tarn_process_exitcode(process) >= 0) /* else it was killed, too late to matter */
			must(r, "worker");
		tarn_process_unref(process);
	}
	job->facts.again = again > 0 ? (uint64_t)again : 0;
	tarn_object_unref(job->queue);
	tarn_object_unref(job->results);

	/* Nothing may be left, and the server's books have to be right. */
	must(tarn_client_trim(job->client), "trim");
	must(tarn_client_flush(job->client, true, 10 * SECOND), "flush");
	must(tarn_inspector_stat(job->inspector, &stat), "stat");
	job->facts.blocks_left = stat.blocks_live;
	job->facts.findings = tarn_inspector_check(job->inspector, &text);
	must(job->facts.findings, "check");
	fputs(text, stderr);
	free(text);
	tarn_inspector_close(job->inspector);
	tarn_client_close(job->client);
	tarn_server_shutdown(job->server, 10 * SECOND);
	tarn_server_unref(job->server);
}

int main(int argc, char **argv)
{
	static struct job job;
	struct words alone;
	double begin;

	options_read(&job.options, argc, argv);
	for (const char *const *path = job.options.path; *path != NULL; path++)
		texts_find(&job.texts, *path);
	if (job.texts.n == 0)
		give_up("nothing to count", "no text files there");
	words_init(&job.words);
	words_init(&alone);

	start(&job);
	while (job.pieces.files_read < job.texts.n) { /* once, if memory is large enough */
		begin = now_s();
		pieces_read(&job.pieces, job.client, &job.texts, job.options.workers);
		job.facts.reading_s += now_s() - begin;
		count_round(&job);
		count_alone(&job, &alone);
		pieces_drop(&job.pieces);
	}
	finish(&job);
	job.facts.differences = words_differ(&job.words, &alone, 5);
	show_report(&job.options, &job.texts, &job.words, &job.facts);
	words_fini(&job.words);
	words_fini(&alone);
	texts_fini(&job.texts);
	return job.facts.differences > 0 || job.facts.findings > 0 || job.facts.blocks_left > 0;
}
