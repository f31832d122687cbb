// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf probe: what this host allows, and what is lost. */
#include <string.h>

#include "cli.h"

static const struct argp probe_argp = {
	.doc = "Tries what this host allows: each feature is on, replaced by something lesser "
	       "(fallback), or off, with what that costs. Loads and unloads BPF programs.",
};

static const struct layout probe_layout[] = {
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"kernel", "kernel", 0}, {"vendor", "vendor", 0}, {"lockdown", "lockdown", 0},
		{0}}},
	{.kind = LAYOUT_TABLE, .key = "features", .columns = (const struct column[]){
		{"name", "FEATURE", 0}, {"state", "STATE", 0}, {"detail", "DETAIL", 0}, {0}}},
	{0},
};

static const char *const vendor_names[] = {"none", "svm", "vmx", "pvm"};
static const char *const state_names[] = {"on", "fallback", "off"};

static json_t *features_json(const struct ka_probe *probe)
{
	json_t *features = json_array();

	for (size_t i = 0; i < probe->count; i++) {
		const struct ka_feature *feature = &probe->feature[i];

		json_array_append_new(features, json_pack("{s:s, s:s, s:o}",
			"name", feature->name, "state", state_names[feature->state],
			"detail", output_guest_text(feature->detail)));
	}
	return features;
}

/* Without the pull of registers no check works. */
static bool can_watch(const struct ka_probe *probe)
{
	for (size_t i = 0; i < probe->count; i++)
		if (!strcmp(probe->feature[i].name, "pull"))
			return probe->feature[i].state != KA_FEATURE_OFF;
	return false;
}

int cmd_probe(struct cli *cli, int argc, char **argv)
{
	int code = cli_parse(cli, &probe_argp, argc, argv, 0, 0), err;
	struct ka_probe probe = {0};
	json_t *result;

	if (code)
		return code;
	err = ka_probe(&probe);
	if (err)
		return cli_fail_errno(cli, err, "cannot probe this host");
	result = cli_result(cli, probe_layout);
	json_object_set_new(result, "kernel", output_guest_text(probe.kernel));
	json_object_set_new(result, "vendor", json_string(vendor_names[probe.vendor]));
	json_object_set_new(result, "lockdown", json_string(probe.lockdown));
	json_object_set_new(result, "features", features_json(&probe));
	if (!can_watch(&probe))
		return cli_fail(cli, CLI_UNSUPPORTED, "VMs of this host cannot be watched");
	return CLI_OK;
}
