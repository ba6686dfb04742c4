/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By libdw. A module is opened once; its names then stay as long as the program. A file that
 * has another build id than the frame says is another program by now, and tells nothing.
 */
#include "symbols.h"

#include <elfutils/libdwfl.h>
#include <string.h>

#include "tarn/fault.h"

#define MODULES_MAX 32u
#define BUILD_ID_MAX 32u

static struct module {
	unsigned char build_id[BUILD_ID_MAX];
	size_t build_id_bytes;
	Dwfl_Module *module; /* NULL: there is no such file */
	GElf_Addr bias;
} modules[MODULES_MAX];
static unsigned n_modules;

static char *debug_path; /* NULL: the system's */
static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_build_id_find_elf,
	.find_debuginfo = dwfl_standard_find_debuginfo,
	.section_address = dwfl_offline_section_address,
	.debuginfo_path = &debug_path,
};

static bool has_id(Dwfl_Module *m, const tarn_frame *place)
{
	const unsigned char *id;
	GElf_Addr address;
	int n = dwfl_module_build_id(m, &id, &address);

	return n > 0 && (size_t)n == place->build_id_bytes &&
	       memcmp(id, place->build_id, place->build_id_bytes) == 0;
}

static Dwfl_Module *open_module(const tarn_frame *place, GElf_Addr *ret_bias)
{
	Dwfl *dwfl = dwfl_begin(&callbacks);
	Dwfl_Module *m;

	if (dwfl == NULL)
		return NULL;
	dwfl_report_begin(dwfl);
	m = dwfl_report_offline(dwfl, place->module, place->module, -1);
	dwfl_report_end(dwfl, NULL, NULL);
	if (m != NULL && dwfl_module_getelf(m, ret_bias) != NULL && has_id(m, place))
		return m;
	dwfl_end(dwfl);
	return NULL;
}

/* Also remembers what was not found. NULL: the table is full. */
static struct module *find_module(const tarn_frame *place)
{
	struct module *m;

	for (unsigned i = 0; i < n_modules; i++)
		if (modules[i].build_id_bytes == place->build_id_bytes &&
		    memcmp(modules[i].build_id, place->build_id, place->build_id_bytes) == 0)
			return &modules[i];
	if (n_modules == MODULES_MAX)
		return NULL;
	m = &modules[n_modules++];
	memcpy(m->build_id, place->build_id, place->build_id_bytes);
	m->build_id_bytes = place->build_id_bytes;
	m->module = open_module(place, &m->bias);
	return m;
}

static bool symbolize(const tarn_frame *place, tarn_frame *ret_names)
{
	struct module *m;
	Dwfl_Line *line;
	GElf_Addr address;
	int number = 0;

	if (place->build_id_bytes == 0 || place->build_id_bytes > BUILD_ID_MAX)
		return false;
	m = find_module(place);
	if (m == NULL || m->module == NULL)
		return false;
	address = place->offset + m->bias;
	ret_names->function = dwfl_module_addrname(m->module, address);
	line = dwfl_module_getsrc(m->module, address);
	if (line != NULL)
		ret_names->file = dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL);
	ret_names->line = (unsigned)number;
	return ret_names->function != NULL || ret_names->file != NULL;
}

bool symbols_init(void)
{
	tarn_fault_symbolizer_set(symbolize);
	return true;
}
