/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A8: other users of the machine, as the kernel knows them: what they reach, what they can put
 * in the way, and what is left afterwards. (Lists, keys, versions: test-access.c; tokens:
 * test-token.c.)
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/control.h"
#include "shm/layout.h"
#include "tests/common/box.h"
#include "tests/common/scene.h"
#include "tests/common/user.h"

static const char key[] = "a key that nobody would find by chance";
static const tarn_client_options with_key = { .authkey = key, .authkey_bytes = sizeof key - 1 };
static const tarn_client_options with_wrong = { .authkey = key, .authkey_bytes = sizeof key - 2 };
static const uint32_t guests[] = { USER_GUEST };

static bool said(const char *text)
{
	return strstr(tarn_error_last()->message, text) != NULL;
}
#define SAID(text) PLAIN_CHECKF(said(text), "%s", tarn_error_last()->message)

static const char *abstract_name(void)
{
	static char name[64];

	snprintf(name, sizeof name, "@tarn-strangers-%d", (int)getpid());
	return name;
}

static void attaches(void *name)
{
	tarn_client *c;

	OK(tarn_client_open(name, NULL, &c));
	OK(tarn_client_ping(c, TARN_FOREVER));
	tarn_client_close(c);
}

/* Refused by the server, not by a mode of a file. */
static void is_refused_by_number(void *name)
{
	tarn_client *c;

	FAILS(tarn_client_open(name, NULL, &c), EACCES);
	SAID("user 65533 may not attach");
}

static int as_stranger(void (*work)(void *), const void *arg)
{
	return user_run(USER_STRANGER, USER_STRANGER, USER_STRANGER, work, (void *)(uintptr_t)arg);
}

static int as_guest(void (*work)(void *), const void *arg)
{
	return user_run(USER_GUEST, USER_GUEST, USER_GUEST, work, (void *)(uintptr_t)arg);
}

/* ---- the key, beside the lists ---- */

static void guest_with_keys(void *name)
{
	tarn_client *c;

	FAILS(tarn_client_open(name, NULL, &c), TARN_EAUTH);
	FAILS(tarn_client_open(name, &with_wrong, &c), TARN_EAUTH);
	OK(tarn_client_open(name, &with_key, &c));
	tarn_client_close(c);
}

static void stranger_with_the_key(void *name)
{
	tarn_client *c;

	FAILS(tarn_client_open(name, &with_key, &c), EACCES);
}

PLAIN_TEST(a8_a_user_of_the_list_needs_the_key_and_who_has_the_key_must_be_listed)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .allow_uids = guests, .n_allow_uids = 1,
				  .authkey = key, .authkey_bytes = sizeof key - 1 };
	tarn_server *server;
	tarn_client *c;

	user_need();
	o.name = abstract_name();
	OK(tarn_server_start(&o, &server));
	PLAIN_EQ(as_guest(guest_with_keys, o.name), 0);
	PLAIN_EQ(as_stranger(stranger_with_the_key, o.name), 0);
	OK(tarn_client_open(o.name, &with_key, &c));
	tarn_client_close(c);
	OK(tarn_server_shutdown(server, TARN_FOREVER));
	tarn_server_unref(server);
}

/* ---- a stolen token ---- */

struct loot {
	const char *name;
	char text[TARN_TOKEN_TEXT_BYTES];
	bool keyed;
};

static void thief(void *arg)
{
	const struct loot *l = arg;
	tarn_token t;
	tarn_client *c;

	OK(tarn_token_parse(l->text, &t)); /* all of it is known */
	for (int i = 0; i < 10; i++) {
		FAILS(tarn_client_open(l->name, NULL, &c), l->keyed ? TARN_EAUTH : EACCES);
		FAILS(tarn_client_open(l->name, &with_wrong, &c), l->keyed ? TARN_EAUTH : EACCES);
	}
}

PLAIN_TEST(a8_a_stolen_token_opens_nothing_and_is_still_good_for_its_owner)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .authkey = key,
				  .authkey_bytes = sizeof key - 1 };
	const tarn_export_options once = { .uses = 1 };
	struct loot l = { .keyed = true };
	tarn_server *server;
	tarn_client *c;
	tarn_block *b, *again;
	tarn_token t;

	l.name = o.name = abstract_name();
	OK(tarn_server_start(&o, &server));
	OK(tarn_client_open(o.name, &with_key, &c));
	OK(tarn_block_new(c, 1000, 0, &b));
	OK(tarn_block_export(b, &once, &t));
	tarn_token_format(&t, l.text);
	pid_t same_user = plain_fork();
	if (same_user == 0) {
		thief(&l); /* of our own user, without the key */
		_exit(0);
	}
	PLAIN_EQ(plain_reap(same_user), 0);
	l.keyed = false;
	if (geteuid() == 0)
		PLAIN_EQ(as_stranger(thief, &l), 0);
	OK(tarn_block_import(c, &t, &again));
	tarn_block_unref(again);
	FAILS(tarn_block_import(c, &t, &again), TARN_ESTALE); /* it was the one use */
	tarn_block_unref(b);
	tarn_client_close(c);
	OK(tarn_server_shutdown(server, TARN_FOREVER));
	tarn_server_unref(server);
}

/* ---- what a guest is given ---- */

static void cannot_be_widened(int fd, const char *what)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	PLAIN_CHECKF(open(path, O_RDWR | O_CLOEXEC) < 0 && errno == EACCES, "%s opens for writing", what);
	PLAIN_CHECKF(fchmod(fd, 0666) != 0 && errno == EPERM, "the mode of %s can be changed", what);
	PLAIN_CHECKF(fcntl(fd, F_GETFL) >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY,
		     "%s comes for writing", what);
	PLAIN_EQ(fstat(fd, &st), 0);
	PLAIN_CHECKF(ftruncate(fd, st.st_size) != 0, "%s can be cut", what);
	PLAIN_CHECKF(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED,
		     "%s can be mapped for writing", what);
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	PLAIN_CHECK(p != MAP_FAILED);
	PLAIN_CHECKF(mprotect(p, 4096, PROT_READ | PROT_WRITE) != 0, "%s can be made writable", what);
	munmap(p, 4096);
}

static void guest_pries(void *name)
{
	static const struct {
		unsigned at;
		const char *what;
	} readonly[] = { { 0, "CTRL" }, { 1, "DIR" }, { 5, "VIEW" } };
	struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_ATTACH,
				   .layout = tarn__layout_hash() };
	int fds[TARN__CONTROL_FDS], fd, own = memfd_create("own", MFD_CLOEXEC), again;
	struct tarn__answer a;
	char path[64];

	/* This way works at all: by it one's own memory opens again. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", own);
	again = open(path, O_RDWR | O_CLOEXEC);
	PLAIN_CHECKF(again >= 0, "%s", strerror(errno));
	close(again);
	OK(tarn__control_connect(name, 0, &fd));
	OK(tarn__control_ask(fd, &q, &a, fds, UINT64_MAX));
	if (a.n_fds == 0) { /* asked to speak once more, see lib/server/attach.c */
		q.kind = TARN__CTL_HERE;
		q.argument = a.value[0];
		OK(tarn__control_ask(fd, &q, &a, fds, UINT64_MAX));
	}
	PLAIN_EQ(a.n_fds, TARN__CONTROL_FDS);
	for (unsigned i = 0; i < sizeof readonly / sizeof *readonly; i++)
		cannot_be_widened(fds[readonly[i].at], readonly[i].what);
	/* What it may write is the server's for all that. */
	PLAIN_CHECK(fchmod(fds[2], 0666) != 0 && errno == EPERM);
	PLAIN_CHECK(fchmod(fds[3], 0666) != 0 && errno == EPERM);
}

static void pry(enum tarn_backing backing)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = abstract_name(), .backing = backing,
				  .allow_uids = guests, .n_allow_uids = 1 };

	user_need();
	struct scene s = scene_open(&o);
	PLAIN_EQ(as_guest(guest_pries, o.name), 0);
	scene_close(&s);
}

PLAIN_TEST(a8_what_a_guest_gets_for_reading_he_cannot_open_for_writing_posix)
{
	pry(TARN_BACKING_POSIX);
}
PLAIN_TEST(a8_what_a_guest_gets_for_reading_he_cannot_open_for_writing_memfd)
{
	pry(TARN_BACKING_MEMFD);
}

static void looks_around(void *arg)
{
	pid_t server = *(pid_t *)arg;
	char path[300];
	unsigned n = 0;
	DIR *d = opendir("/dev/shm");

	PLAIN_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (strstr(e->d_name, "tarn") == NULL)
			continue;
		snprintf(path, sizeof path, "/dev/shm/%s", e->d_name);
		PLAIN_CHECKF(open(path, O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES, "%s", path);
		PLAIN_CHECKF(truncate(path, 0) != 0 && errno == EACCES, "%s", path);
		PLAIN_CHECKF(unlink(path) != 0 && errno == EPERM, "%s", path);
		n++;
	}
	closedir(d);
	PLAIN_EQ(n, 6); /* META, CTRL, DIR, DATA, VIEW, and lanes */
	snprintf(path, sizeof path, "/proc/%d/fd", (int)server);
	PLAIN_CHECK(opendir(path) == NULL && errno == EACCES);
	PLAIN_CHECK(kill(server, SIGTERM) != 0 && errno == EPERM);
}

static void names_in_a_box(void *arg)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .keep_names = true };
	struct scene s = scene_open(&o);
	pid_t server = tarn_server_pid(s.server);

	(void)arg;
	PLAIN_EQ(as_stranger(looks_around, &server), 0);
	scene_close(&s);
}

PLAIN_TEST(a8_names_in_dev_shm_are_nobody_elses_to_open_cut_or_remove)
{
	char why[128];
	int r;

	user_need();
	r = box_run(&(struct box){ 0 }, names_in_a_box, NULL, why);
	if (r == BOX_IMPOSSIBLE)
		PLAIN_SKIP("%s", why);
	PLAIN_EQ(r, 0);
}

/* ---- games with the socket ---- */

PLAIN_TEST(a8_a_socket_that_was_opened_moved_or_linked_lets_nobody_else_in)
{
	tarn_server_options o = { .arena_bytes = 8u << 20 };
	char path[128], other[128];

	user_need();
	snprintf(path, sizeof path, "%s/closed.sock", plain_dir());
	snprintf(other, sizeof other, "%s/other.sock", plain_dir());
	o.name = path;
	struct scene s = scene_open(&o);
	PLAIN_EQ(chmod(plain_dir(), 0755), 0);
	PLAIN_EQ(chmod(path, 0777), 0);
	PLAIN_EQ(as_stranger(is_refused_by_number, path), 0);
	PLAIN_EQ(link(path, other), 0);
	PLAIN_EQ(as_stranger(is_refused_by_number, other), 0);
	attaches(other); /* for its own user it is the same server */
	PLAIN_EQ(unlink(other), 0);
	PLAIN_EQ(symlink(path, other), 0);
	PLAIN_EQ(as_stranger(is_refused_by_number, other), 0);
	PLAIN_EQ(rename(path, other), 0);
	PLAIN_EQ(as_stranger(is_refused_by_number, other), 0);
	PLAIN_EQ(rename(other, path), 0);
	PLAIN_EQ(chmod(plain_dir(), 0700), 0);
	scene_close(&s);
}

static void is_root_of_its_own(void *name)
{
	tarn_client *c;

	if (unshare(CLONE_NEWUSER) != 0)
		_exit(77);
	int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	PLAIN_CHECK(fd >= 0);
	if (write(fd, "0 65533 1", 9) != 9)
		_exit(77);
	PLAIN_EQ(geteuid(), 0);
	/* For us the server's user is nobody. */
	const tarn_client_options any = { .any_server_user = true };
	FAILS(tarn_client_open(name, &any, &c), EACCES);
	SAID("user 65533 may not attach");
}

PLAIN_TEST(a8_root_of_a_user_namespace_is_still_the_stranger_that_it_is_outside)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = abstract_name() };

	user_need();
	struct scene s = scene_open(&o);
	int r = as_stranger(is_root_of_its_own, o.name);
	scene_close(&s);
	if (r == 77)
		PLAIN_SKIP("no user namespaces for users here");
	PLAIN_EQ(r, 0);
}

static void other_version(void *name)
{
	struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_ATTACH,
				   .layout = 0x1234, .version = "9.8.7" };
	struct tarn__answer a;
	int fd;

	OK(tarn__control_connect(name, 0, &fd));
	PLAIN_EQ(tarn__control_send(fd, &q, sizeof q, NULL, 0, 0), sizeof q);
	PLAIN_EQ(tarn__control_recv(fd, &a, sizeof a, NULL, 0, NULL, 0), sizeof a);
	PLAIN_EQ(a.error, geteuid() == USER_GUEST ? -TARN_EVERSION : -EACCES);
	PLAIN_EQ(strstr(a.text, tarn_version()) != NULL, geteuid() == USER_GUEST);
	close(fd);
}

PLAIN_TEST(a8_a_guest_of_another_version_hears_of_both_and_a_stranger_of_none)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = abstract_name(), .allow_uids = guests,
				  .n_allow_uids = 1 };

	user_need();
	struct scene s = scene_open(&o);
	PLAIN_EQ(as_guest(other_version, o.name), 0);
	PLAIN_EQ(as_stranger(other_version, o.name), 0);
	scene_close(&s);
}

struct crowd {
	const char *name;
	uint32_t *step;
};

static void stand_about(void *arg)
{
	enum { MOST = 600 };
	const struct crowd *c = arg;
	unsigned n = 0;
	int fd;

	while (n < MOST && tarn__control_connect(c->name, 0, &fd) == 0)
		n++;
	PLAIN_CHECKF(n > 300, "only %u", n); /* more than a server keeps */
	scene_say(c->step, 1);
	scene_await(c->step, 2);
}

PLAIN_TEST(a8_a_crowd_of_strangers_that_say_nothing_keeps_nobody_out)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = abstract_name() };
	struct crowd c = { .name = o.name, .step = scene_shared(sizeof(uint32_t)) };

	user_need();
	struct scene s = scene_open(&o);
	pid_t child = user_fork(USER_STRANGER, stand_about, &c);
	scene_await(c.step, 1);
	for (int i = 0; i < 20; i++)
		attaches((void *)(uintptr_t)o.name);
	scene_say(c.step, 2);
	PLAIN_EQ(plain_reap(child), 0);
	scene_close(&s);
}

/* ---- a place where everybody may make files, such as /tmp ---- */

static void open_place(char ret[128])
{
	snprintf(ret, 128, "%s/open", plain_dir());
	PLAIN_EQ(chmod(plain_dir(), 0755), 0);
	PLAIN_EQ(mkdir(ret, 0700), 0);
	PLAIN_EQ(chmod(ret, 01777), 0);
}

static void serve(void *name)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = name, .log_level = 3,
				  .backing = TARN_BACKING_MEMFD };

	OK(tarn_server_run(&o));
}

static void must_not_start(const char *name)
{
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = name, .log_level = 3,
				  .backing = TARN_BACKING_MEMFD };
	int r = tarn_server_run(&o);

	/* Its lock is taken, or may not even be opened (mode, or sysctl fs.protected_regular). */
	PLAIN_CHECKF(r == -EADDRINUSE || r == -EACCES, "%s: %s", tarn_error_name(r),
		     tarn_error_last()->message);
	PLAIN_CHECKF(said(name), "%s", tarn_error_last()->message);
}

static void starts_where_another_serves(void *name)
{
	must_not_start(name);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

PLAIN_TEST(a8_of_two_users_one_has_the_name_and_leaves_it_to_nobody_but_himself)
{
	const tarn_client_options any = { .any_server_user = true, .connect_timeout_ns = TARN_FOREVER };
	char place[128], path[160], lock[170];
	tarn_client *c;

	user_need();
	open_place(place);
	snprintf(path, sizeof path, "%s/mine.sock", place);
	snprintf(lock, sizeof lock, "%s.lock", path);
	for (int i = 0; i < 2; i++) {
		pid_t owner = user_fork(USER_STRANGER, serve, path);

		OK(tarn_client_open(path, &any, &c));
		FAILS(tarn_client_open(path, NULL, &(tarn_client *){ NULL }), EACCES);
		SAID("65533");
		must_not_start(path);
		PLAIN_EQ(as_guest(starts_where_another_serves, path), 0);
		OK(tarn_client_ping(c, TARN_FOREVER)); /* and his server has noticed nothing */
		/* Killed, it leaves socket and lock, which are not a guest's to take over. */
		plain_kill(owner);
		tarn_client_close(c);
		PLAIN_CHECK(exists(path) && exists(lock));
		PLAIN_EQ(as_guest(starts_where_another_serves, path), 0);
		PLAIN_CHECK(exists(path) && exists(lock));
	} /* the second round: its owner may */
	PLAIN_EQ(unlink(path), 0);
	PLAIN_EQ(unlink(lock), 0);
}

PLAIN_TEST(a8_of_two_users_one_has_the_abstract_name)
{
	const tarn_client_options any = { .any_server_user = true, .connect_timeout_ns = TARN_FOREVER };
	const char *name = abstract_name();
	tarn_client *c;

	user_need();
	pid_t owner = user_fork(USER_STRANGER, serve, (void *)(uintptr_t)name);
	OK(tarn_client_open(name, &any, &c));
	must_not_start(name);
	PLAIN_EQ(as_guest(starts_where_another_serves, name), 0);
	OK(tarn_client_ping(c, TARN_FOREVER));
	plain_kill(owner);
	tarn_client_close(c);
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = name };
	struct scene s = scene_open(&o); /* nothing of it is left */
	scene_close(&s);
}

struct trap {
	char victim[160], path[160], lock[170];
};

/* Before anybody serves there. */
static void sets_traps(void *arg)
{
	const struct trap *t = arg;
	int fd = open(t->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	PLAIN_CHECK(fd >= 0);
	PLAIN_EQ(fchmod(fd, 0666), 0);
	PLAIN_EQ(symlink(t->victim, t->path), 0);
}

PLAIN_TEST(a8_traps_of_another_user_at_a_servers_path_are_errors_and_harm_nothing)
{
	struct trap t;
	char place[128], text[16] = "";

	user_need();
	open_place(place);
	snprintf(t.victim, sizeof t.victim, "%s/precious", plain_dir());
	snprintf(t.path, sizeof t.path, "%s/mine.sock", place);
	snprintf(t.lock, sizeof t.lock, "%s.lock", t.path);
	int fd = open(t.victim, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	PLAIN_EQ(write(fd, "precious", 8), 8);
	PLAIN_EQ(as_stranger(sets_traps, &t), 0);
	for (int i = 0; i < 2; i++) {
		tarn_server_options o = { .arena_bytes = 8u << 20, .name = t.path };
		tarn_server *server;
		int r = tarn_server_start(&o, &server);

		PLAIN_CHECKF(r == -EACCES || r == -EEXIST, "%s", tarn_error_name(r));
		SAID(t.path);
		PLAIN_EQ(pread(fd, text, sizeof text, 0), 8);
		PLAIN_CHECK(strcmp(text, "precious") == 0 && exists(t.path));
		if (exists(t.lock)) /* not ours, so maybe removed; without it the link is still there */
			PLAIN_EQ(unlink(t.lock), 0);
	}
	PLAIN_EQ(unlink(t.path), 0);
	close(fd);
}

static void points_elsewhere(void *arg)
{
	const struct trap *t = arg;

	PLAIN_EQ(symlink(t->victim, t->path), 0);
}

PLAIN_TEST(a8_a_link_to_another_users_server_leads_no_client_astray)
{
	const tarn_client_options any = { .any_server_user = true, .connect_timeout_ns = TARN_FOREVER };
	char place[128];
	struct trap t;
	tarn_client *c;

	user_need();
	open_place(place);
	snprintf(t.victim, sizeof t.victim, "%s/theirs.sock", place);
	snprintf(t.path, sizeof t.path, "%s/ours.sock", place);
	PLAIN_EQ(as_stranger(points_elsewhere, &t), 0);
	pid_t owner = user_fork(USER_STRANGER, serve, t.victim);
	OK(tarn_client_open(t.victim, &any, &c));
	tarn_client_close(c);
	FAILS(tarn_client_open(t.path, NULL, &c), EACCES);
	plain_kill(owner);
}

/* ---- files that go while the server lives: cleaners of /tmp, for one ---- */

static void without_files(bool with_lock)
{
	char path[128], lock[140];
	tarn_server_options o = { .arena_bytes = 8u << 20, .name = path };
	tarn_server *second;
	tarn_client *c;

	snprintf(path, sizeof path, "%s/swept.sock", plain_dir());
	snprintf(lock, sizeof lock, "%s.lock", path);
	struct scene s = scene_open(&o);
	c = scene_client(&s);
	PLAIN_EQ(unlink(path), 0);
	FAILS(tarn_client_open(path, NULL, &(tarn_client *){ NULL }), ENOENT);
	if (!with_lock) {
		FAILS(tarn_server_start(&o, &second), EADDRINUSE); /* it lives, though nobody finds it */
		PLAIN_CHECK(exists(lock));
		OK(tarn_client_ping(c, TARN_FOREVER));
		tarn_client_close(c);
		scene_close(&s);
		PLAIN_CHECK(!exists(lock));
		return;
	}
	PLAIN_EQ(unlink(lock), 0);
	OK(tarn_server_start(&o, &second));
	OK(tarn_client_ping(c, TARN_FOREVER));
	tarn_client_close(c);
	scene_close(&s); /* the first one's end: what lies there is the second's */
	PLAIN_CHECK(exists(path) && exists(lock));
	attaches(path);
	FAILS(tarn_server_start(&o, &(tarn_server *){ NULL }), EADDRINUSE);
	OK(tarn_server_shutdown(second, TARN_FOREVER));
	tarn_server_unref(second);
	PLAIN_CHECK(!exists(path) && !exists(lock));
}

PLAIN_TEST(a_server_whose_socket_was_removed_keeps_its_name)
{
	without_files(false);
}

PLAIN_TEST(a_server_whose_files_were_removed_removes_none_of_the_next)
{
	without_files(true);
}

PLAIN_MAIN()
