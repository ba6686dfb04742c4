/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which instructions of x86-64 write memory, and where. Only so much of a decoder as that takes:
 * prefixes, opcode, ModRM. In doubt an instruction is said to store, which costs a kill more.
 */
#if defined(__x86_64__)
#include <string.h>
#include <sys/user.h>

#include "step.h"

struct bytes {
	const unsigned char *at;
	unsigned rex, map; /* opcode map: 0 one byte, 1 0F, 2 0F38, 3 0F3A */
	bool segment, vector, evex;
};

static uint64_t reg(const struct user_regs_struct *r, unsigned n)
{
	const unsigned long long all[16] = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp,
					     r->rsi, r->rdi, r->r8,  r->r9,  r->r10, r->r11,
					     r->r12, r->r13, r->r14, r->r15 };

	return all[n & 15];
}

static struct bytes prefixes(const unsigned char *p)
{
	struct bytes b = { 0 };

	for (;; p++) {
		if (*p == 0x64 || *p == 0x65)
			b.segment = true; /* thread-local */
		else if (*p != 0x66 && *p != 0xf2 && *p != 0xf3 && *p != 0xf0 && *p != 0x2e &&
			 *p != 0x36 && *p != 0x3e && *p != 0x26)
			break;
	}
	if ((*p & 0xf0) == 0x40)
		b.rex = *p++;
	if (*p == 0xc5) { /* VEX of two bytes: R is all that it has of REX */
		b.vector = true;
		b.map = 1;
		b.rex = 0;
		p += 2;
	} else if (*p == 0xc4 || *p == 0x62) {
		b.vector = true;
		b.evex = *p == 0x62;
		b.map = p[1] & (b.evex ? 7 : 31);
		/* R, X and B are inverted. */
		b.rex = (unsigned)(~p[1] >> 5) & 7;
		p += b.evex ? 4 : 3;
	} else if (*p == 0x0f) {
		p++;
		b.map = 1;
		if (*p == 0x38 || *p == 0x3a)
			b.map = *p++ == 0x38 ? 2 : 3;
	}
	b.at = p;
	return b;
}

/* Opcodes of the first map with a ModRM byte whose memory operand is written. */
static bool writes_plain(unsigned op, unsigned field)
{
	if (op < 0x40)
		return (op & 7) < 2 && (op & 0x38) != 0x38; /* arithmetic; not cmp */
	switch (op) {
	case 0x80: case 0x81: case 0x83:
		return field != 7;
	case 0xf6: case 0xf7:
		return field == 2 || field == 3;
	case 0xfe: case 0xff:
		return field < 2;
	case 0x63: case 0x69: case 0x6b: case 0x84: case 0x85: case 0x8a: case 0x8b: case 0x8d:
	case 0x8e:
		return false;
	default:
		return true; /* mov, xchg, shifts, x87 */
	}
}

static bool has_modrm(unsigned op)
{
	if (op < 0x40)
		return (op & 7) < 4;
	return op == 0x62 || op == 0x63 || op == 0x69 || op == 0x6b || (op >= 0x80 && op <= 0x8f) ||
	       op == 0xc0 || op == 0xc1 || op == 0xc6 || op == 0xc7 || (op >= 0xd0 && op <= 0xd3) ||
	       (op >= 0xd8 && op <= 0xdf) || op == 0xf6 || op == 0xf7 || op == 0xfe || op == 0xff;
}

/* Loads of the second map; all else with a memory operand counts as a store. */
static bool reads_0f(unsigned op, unsigned field)
{
	if (op >= 0x40 && op <= 0x4f) /* cmov */
		return true;
	if (op >= 0x50 && op <= 0x7d) /* SSE arithmetic and moves to registers */
		return true;
	switch (op) {
	case 0x0d: case 0x18: case 0x1e: case 0x1f: /* prefetch, nop */
	case 0x10: case 0x12: case 0x14: case 0x15: case 0x16: case 0x28: case 0x2a: case 0x2c:
	case 0x2d: case 0x2e: case 0x2f:
	case 0xa3: case 0xaf: case 0xb6: case 0xb7: case 0xb8: case 0xbc: case 0xbd: case 0xbe:
	case 0xbf: case 0xc2: case 0xc4: case 0xc6:
		return true;
	case 0xba:
		return field == 4;
	default:
		return op >= 0xd0 && op != 0xd6 && op != 0xe7;
	}
}

static bool no_modrm_0f(unsigned op)
{
	return op == 0x05 || op == 0x0b || op == 0x31 || op == 0x34 || op == 0x77 ||
	       (op >= 0x80 && op <= 0x8f) || op == 0xa2 || (op >= 0xc8 && op <= 0xcf);
}

/* Where the memory operand lies; false: it is a register, or relative to the text. */
static bool operand(const struct bytes *b, const unsigned char *modrm,
		    const struct user_regs_struct *r, uint64_t *ret)
{
	unsigned mod = *modrm >> 6, rm = *modrm & 7, extend = (b->rex & 1) << 3;
	const unsigned char *p = modrm + 1;
	uint64_t at;
	int32_t far;

	if (mod == 3)
		return false;
	if (rm == 4) {
		unsigned sib = *p++, index = ((sib >> 3) & 7) | (b->rex & 2) << 2, base = sib & 7;

		at = index != 4 ? reg(r, index) << (sib >> 6) : 0;
		if (base == 5 && mod == 0) {
			memcpy(&far, p, 4);
			*ret = at + (uint64_t)(int64_t)far;
			return true;
		}
		at += reg(r, base | extend);
	} else if (rm == 5 && mod == 0) {
		return false;
	} else {
		at = reg(r, rm | extend);
	}
	if (mod == 1)
		at += (uint64_t)((int64_t)(int8_t)*p * (b->evex ? 64 : 1));
	if (mod == 2) {
		memcpy(&far, p, 4);
		at += (uint64_t)(int64_t)far;
	}
	*ret = at;
	return true;
}

struct step_insn step_decode(const unsigned char code[16], const struct user_regs_struct *r)
{
	struct step_insn in = { 0 };
	struct bytes b = prefixes(code);
	unsigned op = *b.at, field = (b.at[1] >> 3) & 7;
	bool store;

	if (b.map == 1 && !b.vector && op == 0x05) {
		in.kernel = true;
		return in;
	}
	if (b.map == 0 && ((op & 0xfe) == 0xa4 || (op & 0xfe) == 0xaa)) { /* movs, stos */
		in.store = true;
		in.address = r->rdi;
		return in;
	}
	if (b.segment)
		return in;
	if (b.map == 0 ? !has_modrm(op) : b.map == 1 && !b.vector && no_modrm_0f(op))
		return in;
	if (b.map == 0)
		store = writes_plain(op, field);
	else if (b.map == 1)
		/* 7E with F3 is a load, of which nothing here depends. */
		store = op == 0x7e || op == 0x7f || !reads_0f(op, field);
	else if (b.map == 2)
		store = op >= 0xf0 || op == 0x2e || op == 0x2f || op == 0x8e || b.evex;
	else
		store = (op >= 0x14 && op <= 0x17) || op == 0x19 || op == 0x39 || op == 0x1d || b.evex;
	in.store = store && operand(&b, b.at + 1, r, &in.address);
	return in;
}
#endif
