/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the words of many text files with several processes that share one memory.
 *
 *   parent   reads the files into blocks of shared memory, once: several small ones into a
 *            block, and a large one into a block of its own, which is cut into slices (they are
 *            blocks too). It sends references to them to the workers.
 *   worker   counts the words where they are, writes (word, count) pairs into a block of
 *            its own and sends back a reference to that. A word is not even spelled there:
 *            it is named by its place in the text, which both processes see.
 *
 * There are two channels per worker: tasks to it, answers from it. A channel carries a
 * reference and a number, here the number of the task; the text is not copied.
 *
 * Half-way the parent kills a worker with SIGKILL, in the middle of its work. What
 * that worker held is taken back by the server; what it had not answered, the parent sends to
 * another worker: it still has its own references. In the end the counts must be those that
 * a single process gets.
 *
 * This file is the parent. The worker is in wordcount/worker.c: read it first, it is short.
 * The rest of that folder has little or nothing to do with Tarn: it counts words, finds files,
 * asks the server what the dead worker held, and prints.
 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tarn/tarn.h>

#include "wordcount/show.h"
#include "wordcount/texts.h"
#include "wordcount/victim.h"
#include "wordcount/words.h"
#include "wordcount/worker.h"

#define MILLISECOND INT64_C(1000000)
#define SECOND (1000 * MILLISECOND)
#define IN_HAND_MAX 8 /* texts sent to a worker and not answered: enough to keep it busy */
#define DEATHS_MAX 100 /* then we give up replacing workers */
#define PIECE_MIN (16 << 10) /* bytes of text in one task */
#define PIECE_MAX (1 << 20)

struct worker {
	unsigned number; /* counts from 1; a replacement gets a new one */
	pid_t pid;
	tarn_channel *tasks, *answers;
	size_t in_hand;
};

struct task {
	tarn_block *text; /* our own reference, until the text is counted */
	size_t files;     /* that are done with it */
	unsigned worker;  /* number of the one that has it, 0: nobody */
	bool answered;
};

struct job {
	struct options options;
	struct texts texts;
	struct words words;
	struct facts facts;
	tarn_server *server;
	tarn_client *client;
	tarn_inspector *inspector;
	struct worker worker[WORKERS_MAX];
	unsigned started;  /* workers so far */
	struct task *task; /* of this round; there are several if memory is small */
	size_t n_tasks, room, next, n_answered;
	size_t files_read, files_done;
};

/* A worker is this program again, told where to attach. (After a mere fork() the handles of
 * the parent would be of no use to it.) */
static void start_worker(struct job *job, struct worker *worker)
{
	extern char **environ;
	const char *server = tarn_server_name(job->server);
	char self[] = "wordcount", as[] = "--worker", name[128], tasks[32], answers[32];
	char *argv[] = { self, as, name, tasks, answers, NULL };

	*worker = (struct worker){ .number = ++job->started };
	snprintf(name, sizeof name, "%s", server);
	snprintf(tasks, sizeof tasks, "tasks-%u", worker->number);
	snprintf(answers, sizeof answers, "answers-%u", worker->number);
	must(tarn_channel_new(job->client, IN_HAND_MAX, tasks, &worker->tasks), "new channel");
	must(tarn_channel_new(job->client, IN_HAND_MAX, answers, &worker->answers), "new channel");
	must(tarn_channel_bind(worker->tasks, TARN_PRODUCER), "bind tasks");
	must(tarn_channel_bind(worker->answers, TARN_CONSUMER), "bind answers");

	if (posix_spawn(&worker->pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0)
		give_up("start a worker", "no process");
}

/* Sends texts until the worker has enough in hand or all are sent. */
static void feed(struct job *job, struct worker *worker)
{
	for (; worker->in_hand < IN_HAND_MAX && job->next < job->n_tasks; job->next++) {
		struct task *task = &job->task[job->next];

		if (task->answered || task->worker != 0)
			continue; /* we are here again for what a dead worker left */
		int r = tarn_channel_send(worker->tasks, task->text, job->next, SECOND);
		if (r == -TARN_ECLOSED)
			return; /* it is dead; hear() will find out */
		must(r, "send a text");
		task->worker = worker->number;
		worker->in_hand++;
		job->facts.tasks++;
	}
}

/* Adds an answer up. It comes from another process, so its claims are looked at. */
static void take_answer(struct job *job, struct worker *worker, tarn_block *block, uint64_t number)
{
	const struct answer *answer = tarn_block_data(block);
	size_t bytes = tarn_block_size(block);
	struct task *task = number < job->n_tasks ? &job->task[number] : NULL;

	if (task == NULL || task->worker != worker->number || task->answered ||
	    bytes < sizeof *answer)
		give_up("receive an answer", "to what was not asked");
	const char *text = tarn_block_data(task->text);
	size_t text_bytes = tarn_block_size(task->text);

	for (uint64_t i = 0; i < answer->n; i++) {
		if ((const char *)&answer->word[i + 1] - (const char *)answer > (ptrdiff_t)bytes ||
		    (uint64_t)answer->word[i].at + answer->word[i].length > text_bytes)
			give_up("receive an answer", "it leads nowhere");
		words_add(&job->words, text + answer->word[i].at, answer->word[i].length,
			  answer->word[i].count);
	}
	/* Were these the very blocks that we filled, and that it filled? */
	if (answer->text_id != tarn_block_id(task->text))
		job->facts.copied_bytes += text_bytes;
	if (answer->own_id != tarn_block_id(block))
		job->facts.copied_bytes += bytes;
	job->facts.answers++;
	job->facts.answer_bytes += bytes;
	task->answered = true;
	worker->in_hand--;
	job->n_answered++;
	job->files_done += task->files;
}

/* Takes all answers that are there, waiting for the first. Returns whether there was one. */
static bool take_answers(struct job *job, struct worker *worker, int64_t timeout_ns)
{
	tarn_block *block;
	uint64_t number;
	bool any = false;
	int r;

	while ((r = tarn_channel_recv(worker->answers, &block, &number, timeout_ns)) == 0) {
		take_answer(job, worker, block, number);
		tarn_block_unref(block);
		timeout_ns = 0;
		any = true;
	}
	if (r != -ETIMEDOUT && r != -TARN_ECLOSED)
		must(r, "receive an answer");
	return any;
}

/* What a dead worker has not answered, nobody will answer: it has to be sent again. */
static size_t bury(struct job *job, struct worker *worker, int status)
{
	size_t n = 0;

	if (!WIFSIGNALED(status))
		give_up("worker", "ended before the work was done");
	if (++job->facts.deaths > DEATHS_MAX)
		give_up("worker", "killed, and so many before it");
	for (size_t i = 0; i < job->n_tasks; i++) {
		if (job->task[i].worker == worker->number && !job->task[i].answered) {
			job->task[i].worker = 0;
			job->next = i < job->next ? i : job->next;
			n++;
		}
	}
	tarn_channel_unref(worker->tasks);
	tarn_channel_unref(worker->answers);
	return n;
}

static void replace(struct job *job, struct worker *worker, int status)
{
	bury(job, worker, status);
	start_worker(job, worker);
}

/* Takes answers, and replaces the worker if it is dead, whoever killed it. */
static bool hear(struct job *job, struct worker *worker, int64_t timeout_ns)
{
	int status;
	/* Asked first: what it sent before its death is then in the channel, to be taken below. */
	bool dead = waitpid(worker->pid, &status, WNOHANG) == worker->pid;
	bool any = take_answers(job, worker, dead ? 0 : timeout_ns);

	if (dead)
		replace(job, worker, status);
	return any;
}

/* Kills the worker with most to do. It is stopped first, so that what it holds at its death
 * can be looked up. */
static void kill_one(struct job *job)
{
	struct worker *worker = job->worker;
	struct victim *victim = &job->facts.victim;
	int status = 0;

	for (unsigned i = 1; i < job->options.workers; i++)
		if (job->worker[i].in_hand > worker->in_hand)
			worker = &job->worker[i];
	if (worker->in_hand == 0)
		return;
	kill(worker->pid, SIGSTOP);
	waitpid(worker->pid, &status, WUNTRACED);
	take_answers(job, worker, 0);
	if (!WIFSTOPPED(status)) { /* somebody else was faster */
		replace(job, worker, status);
		return;
	}
	int client = victim_look(job->inspector, worker->pid, tarn_channel_id(worker->tasks),
				 tarn_channel_id(worker->answers), victim);
	must(client, "look at the worker");
	if (victim->texts == 0) { /* not at work; another time */
		kill(worker->pid, SIGCONT);
		return;
	}
	kill(worker->pid, SIGKILL);
	waitpid(worker->pid, &status, 0);
	victim->pid = worker->pid;
	victim->worker = worker->number;
	victim->again = bury(job, worker, status);
	must(victim_wait(job->inspector, victim->pid, client, victim), "wait for reclamation");
	start_worker(job, worker);
}

/* Has the texts of this round counted. */
static void count_round(struct job *job)
{
	bool idle = false;
	double begin = now_s();

	while (job->n_answered < job->n_tasks) {
		bool any = false;

		for (unsigned i = 0; i < job->options.workers; i++) {
			struct worker *worker = &job->worker[i];

			feed(job, worker);
			any |= hear(job, worker, idle && worker->in_hand > 0 ? MILLISECOND : 0);
		}
		idle = !any;
		if (job->options.kill && job->facts.victim.pid == 0 &&
		    job->files_done * 2 >= job->texts.n)
			kill_one(job);
		show_progress("counting", job->files_done, job->texts.n);
	}
	show_progress(NULL, 0, 0);
	job->facts.counting_s += now_s() - begin;
}

static void add_task(struct job *job, tarn_block *text, size_t files)
{
	if (job->n_tasks == job->room) {
		job->room = job->room * 2 + 256;
		job->task = realloc(job->task, job->room * sizeof *job->task);
		if (job->task == NULL)
			give_up("list of texts", "out of memory");
	}
	job->task[job->n_tasks++] = (struct task){ .text = text, .files = files };
}

/* Makes tasks of a block: slices of about @piece bytes, cut between words, so that workers
 * share the work on a large file. A slice keeps the whole block alive. */
static void add_tasks(struct job *job, tarn_block *block, size_t files, size_t piece)
{
	const char *data = tarn_block_data(block);
	size_t bytes = tarn_block_size(block);

	for (size_t at = 0, end; at < bytes; at = end) {
		tarn_block *slice;

		end = bytes - at > piece ? words_cut(data, bytes, at + piece) : bytes;
		must(tarn_block_slice(block, at, end - at, &slice), "slice a text");
		add_task(job, slice, end == bytes ? files : 0);
	}
}

/* Reads @n files into a block, a line end after each. Returns the bytes. */
static size_t read_files(struct job *job, struct text *file, size_t n, char *data)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		long bytes = text_read(&file[i], data + at);

		if (bytes < 0)
			texts_lost(&job->texts, &file[i], (int)-bytes);
		else
			at += (size_t)bytes;
		data[at++] = '\n';
	}
	return at;
}

/* Reads the next large file, or several small ones, into a block. Returns its size, 0 if
 * memory is full. */
static size_t read_block(struct job *job, size_t piece, size_t max)
{
	/* If we hold nothing, there will be memory when the server has taken it back. */
	const tarn_block_options wait = { .timeout_ns = job->n_tasks > 0 ? 0 : 5 * SECOND };
	struct text *file = &job->texts.text[job->files_read];
	size_t left = job->texts.n - job->files_read, n = 1, bytes = file->bytes + 1;
	tarn_block *block;

	for (; n < left && bytes + file[n].bytes + 1 <= piece; n++)
		bytes += file[n].bytes + 1;
	int r = bytes > max ? -ENOMEM : tarn_block_new_with(job->client, bytes, &wait, &block);
	if (r == -ENOMEM && job->n_tasks > 0)
		return 0; /* next round */
	if (r == -ENOMEM || r == -ETIMEDOUT) { /* not even alone */
		texts_lost(&job->texts, file, EFBIG);
		job->files_done++;
		job->files_read++;
		return bytes;
	}
	must(r, "memory for a text");
	/* Less than expected if a file has shrunk meanwhile. */
	must(tarn_block_resize(block, read_files(job, file, n, tarn_block_data(block))), "resize");
	/* From here on nobody changes it, not even we. */
	must(tarn_block_seal(block), "seal");
	add_tasks(job, block, n, piece);
	tarn_block_unref(block);
	job->files_read += n;
	return bytes;
}

/* Reads files into shared memory: all of them, or half of the memory full. The other half is
 * for answers. */
static void read_round(struct job *job)
{
	uint64_t half = tarn_client_arena_bytes(job->client) / 2, used = 0, bytes;
	/* Pieces: enough to share them evenly, and no smaller: each has its own answer. */
	uint64_t piece = job->texts.bytes / job->options.workers / 16;
	double begin = now_s();

	piece = piece > PIECE_MAX ? PIECE_MAX : piece < PIECE_MIN ? PIECE_MIN : piece;
	if (piece > half / 32)
		piece = half / 32;
	while (job->files_read < job->texts.n &&
	       (used == 0 || used + job->texts.text[job->files_read].bytes < half) &&
	       (bytes = read_block(job, piece, half)) > 0) {
		used += bytes;
		show_progress("reading", job->files_read, job->texts.n);
	}
	job->facts.reading_s += now_s() - begin;
}

/* The same texts, from the same memory, in this process alone. Then they are given up. */
static void count_alone(struct job *job, struct words *alone)
{
	double begin = now_s();

	for (size_t i = 0; i < job->n_tasks; i++)
		words_count(alone, tarn_block_data(job->task[i].text),
			    tarn_block_size(job->task[i].text));
	job->facts.alone_s += now_s() - begin;
	for (size_t i = 0; i < job->n_tasks; i++)
		tarn_block_unref(job->task[i].text);
	job->n_tasks = job->n_answered = job->next = 0;
}

static void start(struct job *job)
{
	const tarn_server_options options = { .arena_bytes = job->options.arena_bytes };
	double begin = now_s();

	must(tarn_server_start(&options, &job->server), "start a server");
	must(tarn_client_open(tarn_server_name(job->server), NULL, &job->client), "attach");
	must(tarn_inspector_open(tarn_server_name(job->server), SECOND, &job->inspector), "inspect");
	for (unsigned i = 0; i < job->options.workers; i++)
		start_worker(job, &job->worker[i]);
	job->facts.startup_s = now_s() - begin;
}

/* Closing a channel of tasks tells its worker that there are no more. */
static void finish(struct job *job)
{
	char *text;
	tarn_stat stat;

	for (unsigned i = 0; i < job->options.workers; i++) {
		tarn_channel_unref(job->worker[i].tasks);
		tarn_channel_unref(job->worker[i].answers);
	}
	for (unsigned i = 0; i < job->options.workers; i++)
		waitpid(job->worker[i].pid, NULL, 0);
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
	free(job->task);
}

int main(int argc, char **argv)
{
	static struct job job;
	struct words alone;

	if (argc == 5 && strcmp(argv[1], "--worker") == 0)
		return worker_main(argv[2], argv[3], argv[4]);
	options_read(&job.options, argc, argv);
	for (const char *const *path = job.options.path; *path != NULL; path++)
		texts_find(&job.texts, *path);
	if (job.texts.n == 0)
		give_up("nothing to count", "no text files there");
	words_init(&job.words);
	words_init(&alone);

	start(&job);
	while (job.files_read < job.texts.n) {
		read_round(&job);
		count_round(&job);
		count_alone(&job, &alone);
	}
	finish(&job);
	job.facts.differences = words_differ(&job.words, &alone, 5);
	show_report(&job.options, &job.texts, &job.words, &job.facts);
	words_fini(&job.words);
	words_fini(&alone);
	texts_fini(&job.texts);
	return job.facts.differences > 0 || job.facts.findings > 0 || job.facts.blocks_left > 0;
}
