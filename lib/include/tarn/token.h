/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: a reference as bytes, for any other way than a channel: pipes, files,
 * command lines, other programs' messages.
 *
 * An export keeps its block (or channel) alive in the server until its uses are up, its
 * deadline passes, it is revoked, or its issuer dies (unless it may outlive it). A
 * token is a bearer's right among those who may attach; to anybody else it opens
 * nothing.
 */
#ifndef TARN_TOKEN_H
#define TARN_TOKEN_H

#include "block.h"
#include "channel.h"

TARN_BEGIN

typedef struct tarn_token {
	unsigned char bytes[64];
} tarn_token;

/* "tarn1:" and 128 hexadecimal digits, and the final 0. */
#define TARN_TOKEN_TEXT_BYTES 135

typedef struct tarn_export_options {
	uint32_t uses;          /* imports it is good for; 0: 1; TARN_USES_UNLIMITED */
	int64_t lifetime_ns;    /* from now; 0: no deadline */
	bool outlive_issuer;    /* stays when this client dies; needs a use count or deadline */
} tarn_export_options;
#define TARN_USES_UNLIMITED UINT32_MAX

/* Makes a token for @block. @options NULL: one use, no deadline, dies with this client.
 * Waits for the server. -EINVAL, -ENOSPC too many exports, -TARN_ESRVDOWN. */
TARN_EXPORT int tarn_block_export(tarn_block *block, const tarn_export_options *options,
				  tarn_token *ret_token);
TARN_EXPORT int tarn_channel_export(tarn_channel *channel, const tarn_export_options *options,
				    tarn_token *ret_token);

/* Uses a token once. -TARN_ESTALE used up, expired, revoked or its block is gone; -EINVAL
 * not a token; -EXDEV of another arena; -TARN_EKIND of the other kind. */
TARN_EXPORT int tarn_block_import(tarn_client *client, const tarn_token *token,
				  tarn_block **ret_block);
TARN_EXPORT int tarn_channel_import(tarn_client *client, const tarn_token *token,
				    tarn_channel **ret_channel);

/* Ends an export before its time. -TARN_ESTALE if it had ended already. */
TARN_EXPORT int tarn_token_revoke(tarn_client *client, const tarn_token *token);

/* Printable form, and back. parse: -EINVAL says at which character. */
TARN_EXPORT void tarn_token_format(const tarn_token *token, char text[TARN_TOKEN_TEXT_BYTES]);
TARN_EXPORT int tarn_token_parse(const char *text, tarn_token *ret_token);

TARN_END

#endif
