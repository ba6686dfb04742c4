/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may attach, how the server knows who it is, and games with names and files.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/auth.h"
#include "lib/control.h"
#include "shm/layout.h"
#include "tests/common/box.h"
#include "tests/common/relay.h"
#include "tests/common/scene.h"
#include "tests/common/seccomp.h"
#include "tests/common/user.h"

#define OPTION_PEERPIDFD 77

static const tarn_server_options small = { .arena_bytes = 8u << 20 };
static const char key[] = "a key that nobody would find by chance";
static const char wrong[] = "a key that nobody would find by chancE";
static const tarn_client_options with_key = { .authkey = key, .authkey_bytes = sizeof key - 1 };
static const tarn_client_options with_wrong = { .authkey = wrong,
						.authkey_bytes = sizeof wrong - 1 };

static bool said(const char *text)
{
	return strstr(tarn_error_last()->message, text) != NULL;
}
#define SAID(text) PLAIN_CHECKF(said(text), "%s", tarn_error_last()->message)

/* The inspector of a scene proves the key by the environment. */
static void key_file(mode_t mode, const char *contents, char ret_path[128])
{
	snprintf(ret_path, 128, "%s/key-%o", plain_dir(), (unsigned)mode);
	int fd = open(ret_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	PLAIN_CHECK(fd >= 0);
	PLAIN_EQ(write(fd, contents, strlen(contents)), strlen(contents));
	PLAIN_EQ(fchmod(fd, mode), 0);
	close(fd);
}

static struct scene keyed(const char *name)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .authkey = key,
				  .authkey_bytes = sizeof key - 1, .name = name };
	char path[128];

	key_file(0600, key, path);
	setenv("TARN_AUTHKEY_FILE", path, 1);
	return scene_open(&o);
}

static void try(const char *name, const tarn_client_options *o)
{
	tarn_client *c;
	tarn_block *b;

	OK(tarn_client_open(name, o, &c));
	OK(tarn_client_ping(c, TARN_FOREVER));
	OK(tarn_block_new(c, 5000, 0, &b));
	tarn_block_unref(b);
	tarn_client_close(c);
}

/* ---- the authkey ---- */

PLAIN_TEST(l16_only_who_knows_the_key_is_let_in)
{
	struct scene s = keyed(NULL);
	tarn_inspector *in;
	tarn_client *c;

	scene_stat(&s); /* the scene's own connection is proven from here on */
	for (int i = 0; i < 3; i++) {
		try(s.name, &with_key);
		FAILS(tarn_client_open(s.name, &with_wrong, &c), TARN_EAUTH);
		SAID("authkey");
		try(s.name, NULL); /* by the environment */
		try(s.name, &with_key);
	}
	unsetenv("TARN_AUTHKEY_FILE");
	FAILS(tarn_client_open(s.name, NULL, &c), TARN_EAUTH);
	SAID("TARN_AUTHKEY_FILE");
	OK(tarn_inspector_open(s.name, 0, &in));
	tarn_stat st;
	FAILS(tarn_inspector_stat(in, &st), TARN_EAUTH);
	FAILS(tarn_inspector_shutdown(in), TARN_EAUTH);
	tarn_inspector_close(in);
	try(s.name, &with_key);
	PLAIN_CHECK(scene_logged(&s, "did not know the authkey"));
	scene_close(&s);
}

static unsigned lines_with(const struct scene *s, const char *text)
{
	char line[1024];
	unsigned n = 0;
	FILE *f = fopen(s->log, "re");

	PLAIN_CHECK(f != NULL);
	while (fgets(line, sizeof line, f) != NULL)
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

/* Who may connect and does not know the key was a line in the log for each time that he tried. */
PLAIN_TEST(who_does_not_know_the_key_cannot_fill_the_log)
{
	struct scene s = keyed(NULL);
	const unsigned tries = 100;
	tarn_client *c;

	for (unsigned i = 0; i < tries; i++)
		FAILS(tarn_client_open(s.name, &with_wrong, &c), TARN_EAUTH);
	PLAIN_CHECK(lines_with(&s, "did not know the authkey") > 0);
	PLAIN_CHECK(lines_with(&s, "did not know the authkey") < tries);
	scene_close(&s);
}

/* A process's name may be any bytes, which were written to the terminal that the log goes to. */
PLAIN_TEST(names_of_clients_do_nothing_to_a_terminal)
{
	tarn_server_options o = small;

	o.log_level = 7;
	struct scene s = scene_open(&o);
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_client *c;

		PLAIN_EQ(prctl(PR_SET_NAME, "a\033[2J\rb", 0, 0, 0), 0);
		OK(tarn_client_open(s.name, NULL, &c));
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
	PLAIN_WAIT_FOR(scene_logged(&s, "(a?[2J?b, "));
	PLAIN_CHECK(!scene_logged(&s, "\033"));
	scene_close(&s);
}

PLAIN_TEST(l16_a_client_with_a_key_refuses_a_server_without)
{
	struct scene s = scene_open(&small);
	tarn_client *c;

	FAILS(tarn_client_open(s.name, &with_key, &c), TARN_EAUTH);
	SAID("no authkey");
	try(s.name, NULL);
	scene_close(&s);
}

PLAIN_TEST(l16_the_servers_own_object_knows_the_key)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .authkey = key,
				  .authkey_bytes = sizeof key - 1 };
	char text[TARN_SERVER_TEXT];
	tarn_server *server, *borrowed;
	tarn_client *c;

	unsetenv("TARN_AUTHKEY_FILE");
	OK(tarn_server_start(&o, &server));
	OK(tarn_server_client_open(server, NULL, &c));
	tarn_client_close(c);
	OK(tarn_server_export(server, text));
	PLAIN_CHECK(strstr(text, key) == NULL);
	OK(tarn_server_import(text, &borrowed));
	FAILS(tarn_server_client_open(borrowed, NULL, &c), TARN_EAUTH);
	OK(tarn_server_client_open(borrowed, &with_key, &c));
	tarn_client_close(c);
	tarn_server_unref(borrowed);
	PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0); /* asked, not killed */
	tarn_server_unref(server);
}

PLAIN_TEST(l16_a_key_file_that_others_can_read_or_that_is_too_short_is_refused)
{
	struct scene s = keyed(NULL);
	char path[128], newline[64], huge[1100];
	tarn_client *c;

	snprintf(newline, sizeof newline, "%s\n", key);
	memset(huge, 'x', sizeof huge);
	huge[sizeof huge - 1] = '\0';
	key_file(0640, key, path);
	setenv("TARN_AUTHKEY_FILE", path, 1);
	FAILS(tarn_client_open(s.name, NULL, &c), EACCES);
	SAID(path);
	key_file(0400, "short", path);
	setenv("TARN_AUTHKEY_FILE", path, 1);
	FAILS(tarn_client_open(s.name, NULL, &c), EINVAL);
	SAID(path);
	key_file(0700, huge, path);
	setenv("TARN_AUTHKEY_FILE", path, 1);
	FAILS(tarn_client_open(s.name, NULL, &c), EINVAL);
	setenv("TARN_AUTHKEY_FILE", "/no/such/file", 1);
	FAILS(tarn_client_open(s.name, NULL, &c), ENOENT);
	key_file(0600, newline, path); /* as editors write it */
	setenv("TARN_AUTHKEY_FILE", path, 1);
	try(s.name, NULL);
	scene_close(&s);
}

/* One step by hand. Returns the answer's code. */
static int step(int fd, enum tarn__control kind, const unsigned char data[TARN__MAC_BYTES],
		unsigned char ret[TARN__MAC_BYTES])
{
	struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = kind,
				   .layout = tarn__layout_hash() };
	int fds[TARN__CONTROL_FDS];
	struct tarn__answer a;

	memcpy(q.data, data, sizeof q.data);
	int r = tarn__control_ask(fd, &q, &a, fds, UINT64_MAX);
	if (r == 0)
		memcpy(ret, a.value, TARN__MAC_BYTES);
	return r;
}

PLAIN_TEST(l16_proofs_that_were_recorded_or_turned_around_prove_nothing)
{
	struct scene s = keyed(NULL);
	unsigned char mine[TARN__MAC_BYTES] = { 7 }, theirs[TARN__MAC_BYTES],
		proof[TARN__MAC_BYTES], answer[TARN__MAC_BYTES], again[TARN__MAC_BYTES];
	int fd;

	unsetenv("TARN_AUTHKEY_FILE");
	OK(tarn__control_connect(s.name, 0, &fd));
	OK(step(fd, TARN__CTL_HELLO, mine, theirs));
	tarn__auth_mac(key, sizeof key - 1, TARN__SIDE_CLIENT, mine, theirs, proof);
	OK(step(fd, TARN__CTL_PROVE, proof, answer));
	FAILS(step(fd, TARN__CTL_PROVE, proof, answer), TARN_EAUTH); /* spent */
	close(fd);
	/* A second connection: the same numbers from us, others from the server. */
	OK(tarn__control_connect(s.name, 0, &fd));
	OK(step(fd, TARN__CTL_HELLO, mine, again));
	PLAIN_CHECK(memcmp(theirs, again, sizeof again) != 0);
	FAILS(step(fd, TARN__CTL_PROVE, proof, answer), TARN_EAUTH);
	FAILS(step(fd, TARN__CTL_HELLO, mine, again), TARN_ESRVDOWN); /* it hung up */
	close(fd);
	/* The server's own proof, sent back. */
	OK(tarn__control_connect(s.name, 0, &fd));
	OK(step(fd, TARN__CTL_HELLO, mine, theirs));
	tarn__auth_mac(key, sizeof key - 1, TARN__SIDE_SERVER, mine, theirs, proof);
	FAILS(step(fd, TARN__CTL_PROVE, proof, answer), TARN_EAUTH);
	close(fd);
	/* Without a greeting; and a question instead of a proof. */
	OK(tarn__control_connect(s.name, 0, &fd));
	FAILS(step(fd, TARN__CTL_PROVE, proof, answer), TARN_EAUTH);
	close(fd);
	OK(tarn__control_connect(s.name, 0, &fd));
	OK(step(fd, TARN__CTL_HELLO, mine, theirs));
	FAILS(step(fd, TARN__CTL_STAT, mine, answer), TARN_EAUTH);
	FAILS(step(fd, TARN__CTL_HERE, mine, answer), TARN_EAUTH);
	close(fd);
	char path[128];
	key_file(0600, key, path);
	setenv("TARN_AUTHKEY_FILE", path, 1);
	scene_close(&s);
}

static bool contains(const void *hay, size_t bytes, const char *needle)
{
	return memmem(hay, bytes, needle, strlen(needle)) != NULL;
}

static void look_for_the_key(struct relay *r, bool of_server, void *data, size_t bytes, int *fds, unsigned *n_fds)
{
	unsigned *seen = r->arg;

	(void)of_server, (void)fds, (void)n_fds;
	*seen += contains(data, bytes, key);
}

/* Files of the arena that the server has open contain @text. */
static unsigned in_the_arena(pid_t server, const char *text)
{
	char path[300], target[300];
	unsigned found = 0, files = 0;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)server);
	d = opendir(path);
	PLAIN_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);

		if (n <= 0)
			continue;
		target[(size_t)n] = '\0';
		if (strncmp(target, "/dev/shm", 8) != 0 && strncmp(target, "/memfd:", 7) != 0)
			continue;
		int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		struct stat st;
		PLAIN_CHECK(fd >= 0);
		PLAIN_EQ(fstat(fd, &st), 0);
		/* Only what is there: META is sparse and large. */
		for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0;) {
			off_t end = lseek(fd, at, SEEK_HOLE);
			char *data = malloc((size_t)(end - at));

			PLAIN_CHECK(data != NULL);
			PLAIN_EQ(pread(fd, data, (size_t)(end - at), at), end - at);
			found += contains(data, (size_t)(end - at), text);
			free(data);
			at = end;
		}
		files++;
		close(fd);
	}
	closedir(d);
	PLAIN_CHECKF(files >= 4, "only %u files", files);
	return found;
}

static void not_in_proc(pid_t pid, const char *what)
{
	static char data[1 << 16];
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	PLAIN_CHECK(fd >= 0);
	ssize_t n = read(fd, data, sizeof data);
	close(fd);
	PLAIN_CHECK(n >= 0);
	PLAIN_CHECKF(!contains(data, (size_t)n, key), "%s", path);
}

PLAIN_TEST(l16_the_key_is_in_no_message_and_nowhere_in_the_arena)
{
	struct scene s = keyed(NULL);
	unsigned seen = 0;
	struct relay r;
	pid_t server = tarn_server_pid(s.server);
	tarn_client *c;
	tarn_block *b;

	relay_open(&r, s.name, look_for_the_key, &seen);
	OK(tarn_client_open(r.at.sun_path, &with_key, &c));
	OK(tarn_block_new(c, 1000, 0, &b));
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	PLAIN_EQ(in_the_arena(server, key), 0);
	strcpy(tarn_block_data(b), key); /* the search finds what is there */
	PLAIN_CHECK(in_the_arena(server, key) > 0);
	memset(tarn_block_data(b), 0, 1000);
	tarn_block_unref(b);
	tarn_client_close(c);
	relay_close(&r);
	PLAIN_CHECKF(r.messages >= 6, "%u messages", r.messages);
	PLAIN_EQ(seen, 0);
	not_in_proc(server, "environ");
	not_in_proc(server, "cmdline");
	scene_close(&s);
}

/* ---- users and groups ---- */

static void may_attach(void *name)
{
	tarn_inspector *in;
	tarn_stat st;

	try(name, NULL);
	OK(tarn_inspector_open(name, 0, &in));
	OK(tarn_inspector_stat(in, &st));
	FAILS(tarn_inspector_shutdown(in), EPERM);
	SAID("root");
	tarn_inspector_close(in);
}

static void may_not_attach(void *name)
{
	tarn_inspector *in;
	tarn_client *c;
	tarn_stat st;

	FAILS(tarn_client_open(name, NULL, &c), EACCES);
	int r = tarn_inspector_open(name, 0, &in);
	if (r == 0) {
		FAILS(tarn_inspector_stat(in, &st), EACCES);
		tarn_inspector_close(in);
	}
}

static void access_by_lists(const char *name)
{
	static const uint32_t uids[] = { 4242, USER_GUEST }, gids[] = { USER_GROUP };
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = name, .allow_uids = uids,
				  .n_allow_uids = 2, .allow_gids = gids, .n_allow_gids = 1 };
	struct scene s = scene_open(&o);
	void *arg = (void *)(uintptr_t)name;

	PLAIN_EQ(user_run(USER_GUEST, USER_STRANGER, USER_STRANGER, may_attach, arg), 0);
	PLAIN_EQ(user_run(USER_STRANGER, USER_GROUP, USER_STRANGER, may_attach, arg), 0);
	PLAIN_EQ(user_run(USER_STRANGER, USER_STRANGER, USER_GROUP, may_attach, arg), 0); /* not its first group */
	PLAIN_EQ(user_run(USER_STRANGER, USER_STRANGER, USER_STRANGER, may_not_attach, arg), 0);
	PLAIN_EQ(user_run(USER_STRANGER, USER_GUEST, USER_GUEST, may_not_attach, arg), 0); /* a user, no group */
	scene_close(&s);
	o = (tarn_server_options){ .arena_bytes = 8u << 20, .name = name };
	s = scene_open(&o); /* without lists: nobody else */
	PLAIN_EQ(user_run(USER_GUEST, USER_GROUP, USER_GROUP, may_not_attach, arg), 0);
	scene_close(&s);
}

PLAIN_TEST(l16_users_and_groups_of_the_lists_may_attach_and_nobody_else)
{
	char abstract[64], path[160];

	user_need();
	snprintf(abstract, sizeof abstract, "@tarn-lists-%d", (int)getpid());
	access_by_lists(abstract);
	snprintf(path, sizeof path, "%s/lists.sock", plain_dir());
	PLAIN_EQ(chmod(plain_dir(), 0755), 0); /* they must get there */
	access_by_lists(path);
	PLAIN_EQ(chmod(plain_dir(), 0700), 0);
}

static void serve_as_stranger(void *name)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = name, .log_level = 3,
				  .backing = TARN_BACKING_MEMFD };

	OK(tarn_server_run(&o));
}

PLAIN_TEST(a_server_that_another_user_runs_is_not_trusted_unless_that_is_meant)
{
	const tarn_client_options any = { .any_server_user = true, .connect_timeout_ns = TARN_FOREVER };
	char name[64];
	tarn_inspector *in;
	tarn_client *c;

	user_need();
	snprintf(name, sizeof name, "@tarn-squatter-%d", (int)getpid());
	pid_t child = plain_fork();
	if (child == 0)
		_exit(user_run(USER_STRANGER, USER_STRANGER, USER_STRANGER, serve_as_stranger, name));
	try(name, &any);
	FAILS(tarn_client_open(name, NULL, &c), EACCES);
	SAID("65533");
	OK(tarn_inspector_open(name, 0, &in));
	OK(tarn_inspector_shutdown(in)); /* root may */
	tarn_inspector_close(in);
	PLAIN_EQ(plain_reap(child), 0);
}

/* ---- which process it is ---- */

/* A connection that @connect_by's child made, in our hands too. */
static int connected_by(pid_t *ret_pid, const char *name)
{
	struct sockaddr_un a;
	int length = tarn__control_address(name, 0, &a), go[2];
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	PLAIN_CHECK(fd >= 0 && length > 0);
	PLAIN_EQ(pipe2(go, O_CLOEXEC), 0);
	*ret_pid = plain_fork();
	if (*ret_pid == 0) {
		PLAIN_EQ(connect(fd, (struct sockaddr *)&a, (socklen_t)length), 0);
		PLAIN_EQ(write(go[1], "", 1), 1);
		for (;;)
			pause();
	}
	char byte;
	PLAIN_EQ(read(go[0], &byte, 1), 1);
	close(go[0]);
	close(go[1]);
	return fd;
}

static int ask_attach(int fd, enum tarn__control kind, uint64_t argument, struct tarn__answer *ret)
{
	struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = kind,
				   .layout = tarn__layout_hash(), .argument = argument };
	int fds[TARN__CONTROL_FDS];
	int r = tarn__control_ask(fd, &q, ret, fds, UINT64_MAX);

	for (unsigned i = 0; r == 0 && i < ret->n_fds; i++)
		close(fds[i]);
	return r;
}

static void *attach_and_hold(void *arg)
{
	struct scene *s = arg;
	tarn_client *c = scene_client(s);
	tarn_block *b;

	for (int i = 0; i < 10; i++)
		OK(tarn_block_new(c, 10000, 0, &b));
	return c;
}

static void identities_without_peerpidfd(void)
{
	struct tarn__answer a;
	pid_t child;

	OK(tarn_test__refuse_socket_option(OPTION_PEERPIDFD, ENOPROTOOPT));
	struct scene s = scene_open(&small); /* it inherits the filter */
	for (int i = 0; i < 3; i++)
		try(s.name, NULL);
	/* A client that is killed is seen to die, by the descriptor that was opened for it. */
	uint32_t *held = scene_shared(sizeof *held);
	child = plain_fork();
	if (child == 0) {
		attach_and_hold(&s);
		scene_say(held, 1);
		for (;;)
			pause();
	}
	scene_await(held, 1);
	PLAIN_EQ(scene_stat(&s).clients, 1);
	plain_kill(child);
	PLAIN_WAIT_FOR(scene_stat(&s).clients == 0);
	/* The one that connected is not the one that speaks. */
	int fd = connected_by(&child, s.name);
	OK(ask_attach(fd, TARN__CTL_ATTACH, 0, &a));
	PLAIN_EQ(a.n_fds, 0);
	FAILS(ask_attach(fd, TARN__CTL_HERE, a.value[0], &a), ESRCH);
	SAID("the process that speaks is not the one that connected");
	close(fd);
	/* It is dead, and its number free for others. */
	plain_kill(child);
	fd = connected_by(&child, s.name);
	plain_kill(child);
	FAILS(ask_attach(fd, TARN__CTL_ATTACH, 0, &a), ESRCH);
	close(fd);
	/* It dies between question and answer. */
	fd = connected_by(&child, s.name);
	OK(ask_attach(fd, TARN__CTL_ATTACH, 0, &a));
	plain_kill(child);
	FAILS(ask_attach(fd, TARN__CTL_HERE, a.value[0], &a), ESRCH);
	close(fd);
	/* Another number; none; and unasked. */
	for (int i = 0; i < 3; i++) {
		OK(tarn__control_connect(s.name, 0, &fd));
		a.value[0] = 0;
		if (i < 2)
			OK(ask_attach(fd, TARN__CTL_ATTACH, 0, &a));
		FAILS(ask_attach(fd, TARN__CTL_HERE, i == 1 ? 0 : a.value[0] + 1, &a), ESRCH);
		/* Each question is good for one answer. */
		OK(ask_attach(fd, TARN__CTL_ATTACH, 0, &a));
		OK(ask_attach(fd, TARN__CTL_HERE, a.value[0], &a));
		PLAIN_EQ(a.n_fds, TARN__CONTROL_FDS);
		OK(ask_attach(fd, TARN__CTL_DETACH, 0, &a));
		close(fd);
	}
	scene_close(&s);
}

PLAIN_TEST(without_peerpidfd_only_the_process_that_connected_attaches)
{
	pid_t child = plain_fork();

	if (child == 0) {
		identities_without_peerpidfd();
		exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
}

PLAIN_TEST(with_peerpidfd_whoever_speaks_the_process_that_connected_is_the_client)
{
	struct scene s = scene_open(&small);
	struct tarn__answer a;
	tarn_client_row *row;
	pid_t child;
	size_t n;
	int fd = connected_by(&child, s.name);

	OK(ask_attach(fd, TARN__CTL_ATTACH, 0, &a));
	if (a.n_fds == 0)
		PLAIN_SKIP("this kernel has no SO_PEERPIDFD");
	OK(tarn_inspector_clients(s.in, &row, &n));
	PLAIN_EQ(n, 2); /* the host of objects is the other one */
	PLAIN_CHECK((pid_t)row[0].pid == child || (pid_t)row[1].pid == child);
	free(row);
	plain_kill(child);
	PLAIN_WAIT_FOR(scene_stat(&s).clients == 0); /* though we hold its socket */
	close(fd);
	scene_close(&s);
}

struct far_away {
	char name[128];
	uint32_t *step;
};

static void client_far_away(void *arg)
{
	struct far_away *f = arg;
	tarn_client *c;
	tarn_block *b;

	PLAIN_EQ(getpid(), 1);
	unsetenv("XDG_RUNTIME_DIR");
	OK(tarn_client_open(f->name, NULL, &c));
	for (int i = 0; i < 100; i++) {
		OK(tarn_block_new(c, 10000, 0, &b));
		memset(tarn_block_data(b), i, 10000);
		if (i > 0)
			tarn_block_unref(b);
	}
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	tarn_inspector *in;
	OK(tarn_inspector_open(f->name, 0, &in));
	FAILS(tarn_inspector_pid(in), ESRCH);
	SAID("in a process namespace that is not to be seen from here");
	tarn_inspector_close(in);
	scene_say(f->step, 1);
	scene_await(f->step, 2); /* and dies with a block */
}

PLAIN_TEST(a_client_of_other_namespaces_that_shares_only_the_socket_works)
{
	struct scene s;
	struct far_away f = { .step = scene_shared(sizeof(uint32_t)) };
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = f.name };
	char why[128];

	snprintf(f.name, sizeof f.name, "%s/far.sock", plain_dir());
	s = scene_open(&o);
	pid_t child = plain_fork();
	if (child == 0) {
		int r = box_run(&(struct box){ .pids = true, .shm_bytes = 1 << 20 },
				client_far_away, &f, why);
		if (r == BOX_IMPOSSIBLE)
			scene_say(f.step, 99);
		_exit(r == BOX_IMPOSSIBLE ? 77 : r);
	}
	PLAIN_WAIT_FOR(__atomic_load_n(f.step, __ATOMIC_ACQUIRE) != 0);
	if (__atomic_load_n(f.step, __ATOMIC_ACQUIRE) == 1) {
		PLAIN_EQ(scene_stat(&s).clients, 1);
		scene_say(f.step, 2);
	}
	int r = plain_reap(child);
	scene_close(&s);
	if (r == 77)
		PLAIN_SKIP("no namespaces here");
	PLAIN_EQ(r, 0);
}

static void serve_far_away(void *arg)
{
	struct far_away *f = arg;
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = f->name };
	struct scene s = scene_open(&o);

	scene_say(f->step, 1);
	scene_await(f->step, 2);
	scene_close(&s);
}

/* The other way round: the server cannot even see its client's pid. */
PLAIN_TEST(a_server_of_other_namespaces_knows_clients_that_it_cannot_see)
{
	struct far_away f = { .step = scene_shared(sizeof(uint32_t)) };
	char why[128];

	snprintf(f.name, sizeof f.name, "%s/far.sock", plain_dir());
	pid_t child = plain_fork();
	if (child == 0) {
		int r = box_run(&(struct box){ .pids = true }, serve_far_away, &f, why);
		if (r == BOX_IMPOSSIBLE)
			scene_say(f.step, 99);
		_exit(r == BOX_IMPOSSIBLE ? 77 : r);
	}
	PLAIN_WAIT_FOR(__atomic_load_n(f.step, __ATOMIC_ACQUIRE) != 0);
	if (__atomic_load_n(f.step, __ATOMIC_ACQUIRE) == 99) {
		plain_reap(child);
		PLAIN_SKIP("no namespaces here");
	}
	tarn_client *c;
	int r = tarn_client_open(f.name, NULL, &c);
	if (r == 0) {
		pid_t victim = plain_fork();
		if (victim == 0) {
			tarn_block *b;
			tarn_client *mine;

			OK(tarn_client_open(f.name, NULL, &mine));
			OK(tarn_block_new(mine, 10000, 0, &b));
			OK(tarn_client_flush(mine, true, TARN_FOREVER));
			_exit(0);
		}
		PLAIN_EQ(plain_reap(victim), 0); /* scene_close() sees that it died */
		OK(tarn_client_ping(c, TARN_FOREVER));
		tarn_client_close(c);
	} else {
		SAID("pid namespace"); /* before Linux 6.5 */
	}
	scene_say(f.step, 2);
	PLAIN_EQ(plain_reap(child), 0);
}

/* ---- other versions ---- */

PLAIN_TEST(a_request_of_another_version_is_answered_with_both_versions)
{
	struct {
		struct tarn__request q;
		char more[300];
	} r = { .q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_ATTACH, .layout = 0x1234,
		       .version = "9.8.7" } };
	const size_t sizes[] = { TARN__REQUEST_LEAST, 32, sizeof r.q, sizeof r.q + 8, sizeof r };
	struct scene s = scene_open(&small);

	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct tarn__answer a;
		char ours[20];
		int fd;

		OK(tarn__control_connect(s.name, 0, &fd));
		PLAIN_EQ(tarn__control_send(fd, &r, sizes[i], NULL, 0, 0), sizes[i]);
		PLAIN_EQ(tarn__control_recv(fd, &a, sizeof a, NULL, 0, NULL, 0), sizeof a);
		PLAIN_EQ(a.error, -TARN_EVERSION);
		snprintf(ours, sizeof ours, "%016llx", (unsigned long long)tarn__layout_hash());
		PLAIN_CHECKF(strstr(a.text, ours) != NULL && strstr(a.text, tarn_version()) != NULL &&
			     strstr(a.text, "0000000000001234") != NULL, "%s", a.text);
		PLAIN_CHECKF(sizes[i] < sizeof r.q || strstr(a.text, "9.8.7") != NULL, "%s", a.text);
		close(fd);
	}
	/* A part of a request of this version is none. */
	r.q.layout = tarn__layout_hash();
	for (size_t n = 1; n < sizeof r.q; n += 7) {
		char byte;
		int fd;

		OK(tarn__control_connect(s.name, 0, &fd));
		PLAIN_EQ(tarn__control_send(fd, &r, n, NULL, 0, 0), n);
		PLAIN_EQ(read(fd, &byte, 1), 0);
		close(fd);
	}
	scene_close(&s);
}

/* ---- games with files ---- */

static void start_refused(const char *name, int code, const char *text)
{
	tarn_server_options o = { .arena_bytes = 4u << 20, .name = name };
	tarn_server *server;

	FAILS(tarn_server_start(&o, &server), code);
	SAID(text);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	PLAIN_CHECK(fd >= 0);
	PLAIN_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void still_there(const char *path, const char *text)
{
	char data[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	PLAIN_CHECK(fd >= 0);
	PLAIN_EQ(read(fd, data, sizeof data), strlen(text));
	PLAIN_CHECK(strcmp(data, text) == 0);
	close(fd);
}

PLAIN_TEST(a_server_removes_nothing_that_is_not_a_socket)
{
	char path[128], target[128], lock[140];
	struct stat st;

	snprintf(path, sizeof path, "%s/x.sock", plain_dir());
	snprintf(target, sizeof target, "%s/precious", plain_dir());
	snprintf(lock, sizeof lock, "%s.lock", path);
	put(path, "precious");
	start_refused(path, EEXIST, path);
	still_there(path, "precious");
	PLAIN_EQ(unlink(path), 0);
	put(target, "precious");
	PLAIN_EQ(symlink(target, path), 0);
	start_refused(path, EEXIST, path);
	still_there(target, "precious");
	PLAIN_EQ(unlink(path), 0);
	PLAIN_EQ(mkdir(path, 0700), 0);
	start_refused(path, EEXIST, path);
	PLAIN_EQ(rmdir(path), 0);
	/* The lock file as a link, dangling or not: followed never. */
	unlink(lock);
	PLAIN_EQ(symlink(target, lock), 0);
	start_refused(path, ELOOP, "symbolic link");
	still_there(target, "precious");
	PLAIN_EQ(unlink(lock), 0);
	snprintf(target, sizeof target, "%s/not-there", plain_dir());
	PLAIN_EQ(symlink(target, lock), 0);
	start_refused(path, ELOOP, "symbolic link");
	PLAIN_CHECK(lstat(target, &st) != 0);
	PLAIN_EQ(unlink(lock), 0);
	/* Its own way free, it serves, and cleans up. */
	tarn_server_options o = { .arena_bytes = 4u << 20, .name = path };
	struct scene s = scene_open(&o);
	PLAIN_EQ(stat(path, &st), 0);
	PLAIN_EQ(st.st_mode & 0777, 0600);
	scene_close(&s);
	PLAIN_CHECK(lstat(path, &st) != 0 && lstat(lock, &st) != 0);
}

PLAIN_TEST(a_runtime_directory_that_others_can_write_is_refused)
{
	char directory[128];
	tarn_client *c;

	snprintf(directory, sizeof directory, "%s/tarn", plain_dir());
	PLAIN_EQ(mkdir(directory, 0700), 0);
	static const mode_t modes[] = { 0770, 0707, 0722, 01777 };
	for (unsigned i = 0; i < 4; i++) {
		PLAIN_EQ(chmod(directory, modes[i]), 0);
		start_refused("plain", EACCES, "writable");
		FAILS(tarn_client_open("plain", NULL, &c), EACCES);
	}
	PLAIN_EQ(chmod(directory, 0755), 0); /* to look at is no harm */
	tarn_server_options o = { .arena_bytes = 4u << 20, .name = "plain" };
	struct scene s = scene_open(&o);
	scene_close(&s);
	PLAIN_EQ(rmdir(directory), 0);
	PLAIN_EQ(symlink("/tmp", directory), 0);
	start_refused("plain", EACCES, "symbolic link");
	PLAIN_EQ(unlink(directory), 0);
	if (geteuid() != 0)
		return;
	PLAIN_EQ(mkdir(directory, 0700), 0);
	PLAIN_EQ(chown(directory, USER_STRANGER, USER_STRANGER), 0);
	start_refused("plain", EACCES, "65533");
	PLAIN_EQ(rmdir(directory), 0);
}

/* ---- fast, and nothing left ---- */

static unsigned descriptors(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	d = opendir(path);
	PLAIN_CHECK(d != NULL);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static unsigned mappings(pid_t pid)
{
	char path[64], line[512];
	unsigned n = 0;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	FILE *f = fopen(path, "re");
	PLAIN_CHECK(f != NULL);
	while (fgets(line, sizeof line, f) != NULL)
		n++;
	fclose(f);
	return n;
}

static uint64_t attach_many(const char *name, unsigned n)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < n; i++) {
		tarn_client *c;
		uint64_t begin = scene_now();

		OK(tarn_client_open(name, NULL, &c));
		uint64_t took = scene_now() - begin;
		best = took < best ? took : best;
		tarn_client_close(c);
	}
	return best;
}

PLAIN_TEST_TIMEOUT(ten_thousand_attach_and_detach_cycles_leave_nothing, 300)
{
	struct scene s = scene_open(&small);
	pid_t server = tarn_server_pid(s.server), self = getpid();

	attach_many(s.name, 100);
	scene_at_rest(&s);
	const tarn_stat before = scene_stat(&s);
	unsigned fds = descriptors(server), maps = mappings(server);
	const unsigned our_fds = descriptors(self), our_maps = mappings(self);
	for (int i = 0; i < 50; i++) { /* it may be about to close an answer's */
		plain__nap();
		fds = descriptors(server) < fds ? descriptors(server) : fds;
		maps = mappings(server) < maps ? mappings(server) : maps;
	}
	uint64_t begin = scene_now();
	uint64_t best = attach_many(s.name, 10000);
	scene_note("attach and detach %.1f us in the mean, attach %.1f us at best",
		   (double)(scene_now() - begin) / 1e7, (double)best / 1e3);
	scene_at_rest(&s);
	const tarn_stat after = scene_stat(&s);
	PLAIN_WAIT_FOR(descriptors(server) <= fds);
	PLAIN_WAIT_FOR(mappings(server) <= maps);
	PLAIN_EQ(descriptors(self), our_fds);
	/* Malloc may have parted or joined an arena. */
	PLAIN_CHECKF(mappings(self) <= our_maps + 4, "%u mappings, %u before", mappings(self), our_maps);
	PLAIN_EQ(after.resident_meta_bytes, before.resident_meta_bytes);
	PLAIN_EQ(after.resident_data_bytes, before.resident_data_bytes);
	PLAIN_EQ(after.indices_used, before.indices_used);
	PLAIN_EQ(after.deaths, before.deaths);
	scene_close(&s);
}

PLAIN_MAIN()
