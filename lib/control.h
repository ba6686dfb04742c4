/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket (SOCK_SEQPACKET, one datagram per message): attaching, lanes,
 * questions. Rare and slow work; nothing of the data path. A request is answered by one
 * struct tarn__answer, with descriptors where noted, in order.
 */
#ifndef TARN_CONTROL_H
#define TARN_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#define TARN__CONTROL_MAGIC 0x746e7261u

enum tarn__control {
	TARN__CTL_ATTACH = 1,     /* answer: fds CTRL, DIR, DATA (rw), LANE (rw), doorbell, VIEW
				   * value: client index, incarnation, data bytes,
				   *        dir entries, lane segment bytes, arena cap,
				   *        view bytes */
	TARN__CTL_LANE_OPEN = 2,  /* value[0]: number of a fresh lane, positions start at 0 */
	TARN__CTL_LANE_CLOSE = 3, /* argument: number. Takes effect when everything in it is
				   * applied; not answered: hundreds of threads may end
				   * at once, and nobody reads */
	TARN__CTL_DETACH = 4,     /* orderly end: as death, but now; answered when reclaimed */
	TARN__CTL_STAT = 5,       /* fd: a memfd with a tarn_stat */
	TARN__CTL_CLIENTS = 6,    /* fd: rows; value[0]: how many. Likewise: */
	TARN__CTL_BLOCKS = 7,
	TARN__CTL_REFS = 8,       /* argument: id or 0 */
	TARN__CTL_CHECK = 9,      /* fd: text; value[0]: findings */
	TARN__CTL_SHUTDOWN = 10,
	TARN__CTL_SETTLE = 11,    /* answered after two more full epochs */
	TARN__CTL_HELLO = 32,     /* data: a nonce; value: a nonce (lib/auth.h). Likewise: */
	TARN__CTL_PROVE = 33,     /* data: proof; value: proof */
	TARN__CTL_HERE = 34,      /* argument: value[0] of an answer to ATTACH that has no
				   * descriptors: the kernel cannot name the process behind the
				   * socket, and this message, which it signs, does. Answered as
				   * ATTACH */
	TARN__CTL_CLASSES = 12,   /* fd: rows, as 6; likewise: */
	TARN__CTL_MESSAGES = 13,
	TARN__CTL_TYPES = 48,     /* fd: rows, as 6; likewise: */
	TARN__CTL_OBJECTS = 49,
	TARN__CTL_CALLS = 50,
	TARN__CTL_ERRORS = 51,
	TARN__CTL_LEAKS = 52,     /* after two more epochs */
	TARN__CTL_DUMP = 14,      /* fd: a dump, see server/dump.h */
	TARN__CTL_RING = 15,      /* as the doorbell, which every client can empty; this comes for certain. Not
				   * answered */
	TARN__CTL_NO_HOST = 53,   /* by the host, whose attaching failed and is tried again; argument: the errno. Calls
				   * that wait for executors are answered with it; this is not */
	TARN__CTL_EVENT = 40,     /* argument: lane. fd: reading end of a pipe into which the server
				   * writes when a reply goes to that lane and it asks for it
				   * (notify). The writing end's flags are out of reach */
	TARN__CTL_SUCCESSOR = 41, /* not asked for: another server has taken over. What was asked
				   * before and has no answer yet is asked again */
};

struct tarn__request {
	uint32_t magic;
	uint32_t kind;
	uint64_t layout; /* of the asker's build; up to here the same in all versions */
	uint64_t argument;
	uint64_t quota;  /* ATTACH */
	unsigned char data[32];
	char version[24]; /* of the asker's library, for the sentence when layouts differ */
	uint64_t serial;  /* comes back with the answer */
};
#define TARN__REQUEST_LEAST offsetof(struct tarn__request, argument)

#define TARN__CONTROL_FDS 6
struct tarn__answer {
	uint32_t magic;
	uint32_t kind;
	int32_t error;   /* 0 or negative code */
	uint32_t n_fds;
	uint64_t value[8];
	char text[256];  /* of an error, or "" */
	uint64_t serial; /* of the request; 0: not known */
};

/* Turns a server name into a socket address: a path when it contains '/', abstract when it
 * starts with '@', else NAME.sock in $XDG_RUNTIME_DIR/tarn or /tmp/tarn-UID. @make_directory
 * creates that directory (mode 0700). Returns the address length or negative errno. */
struct sockaddr_un;
int tarn__control_address(const char *name, int make_directory, struct sockaddr_un *ret);

/* @name as it is meant now, whatever this process's directory is later: of a path in it one from the root, as far as
 * @ret has room (a socket's path is short). */
void tarn__control_name(const char *name, char *ret, size_t bytes);

/* That directory of plain names, whether it exists or not; 0 or negative errno. */
int tarn__control_directory(char *ret, size_t bytes);

/* A server as text: "tarn:1:UUID:PID:ADDRESS", the address in a form that means the same in any
 * process. @ret_pid may be NULL; *ret_address lies in @text. -EINVAL of what is none. */
int tarn__control_text(const char *name, const uint64_t uuid[2], int pid, char *ret, size_t bytes);
int tarn__control_text_read(const char *text, uint64_t ret_uuid[2], int *ret_pid,
			    const char **ret_address);

/* Sends or receives one datagram with descriptors (n_fds may be 0). Received descriptors are
 * close-on-exec; more than @max_fds are closed. Bytes or negative errno; 0 is end of file. */
int tarn__control_send(int fd, const void *data, size_t bytes, const int *fds, unsigned n_fds,
		       int flags);
int tarn__control_recv(int fd, void *data, size_t bytes, int *ret_fds, unsigned max_fds,
		       unsigned *ret_n_fds, int flags);
/* Without waiting and without descriptors, but with the kernel's word who sent it: pid 0 unless
 * the socket has SO_PASSCRED. */
struct ucred;
int tarn__control_recv_from(int fd, void *data, size_t bytes, struct ucred *ret_sender);

/* Client side: connects, waiting up to @deadline (tarn__now based) for a server to appear. */
int tarn__control_connect(const char *name, uint64_t deadline, int *ret_fd);
/* Sends a request and waits for its answer until @deadline, asking again when another server
 * takes over. Answers to earlier requests, which nobody waited for long enough, are passed over.
 * Returns the answer's error. If that is -TARN_EAUTH and TARN_AUTHKEY_FILE names a key, proves it
 * and asks again. */
int tarn__control_ask(int fd, const struct tarn__request *ask, struct tarn__answer *ret,
		      int ret_fds[TARN__CONTROL_FDS], uint64_t deadline);

#endif
