// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf regs: the registers of the vCPUs. */
#include <stdlib.h>

#include "cli.h"
#include "vcpu_option.h"

static const struct argp_option regs_options[] = {
	VCPU_OPTION("Only this vCPU"),
	{0},
};

static const struct argp regs_argp = {
	.options = regs_options, .parser = vcpu_option_parser, .args_doc = "VM",
	.doc = "Shows the registers of the vCPUs. One that runs in the guest right now shows its "
	       "state of its last exit.",
};

static const char *const gpr_names[] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
};
static const char *const selector_names[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

static const struct layout regs_inner[] = {
	{.kind = LAYOUT_FIELDS, .per_line = 3, .columns = (const struct column[]){
		{"vcpu", "vCPU", 0}, {"state", "state", 0}, {"paging", "paging", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"reason", "reason", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .key = "registers", .per_line = 4,
	 .columns = (const struct column[]){
		{"rax", "RAX", 0}, {"rbx", "RBX", 0}, {"rcx", "RCX", 0}, {"rdx", "RDX", 0},
		{"rsi", "RSI", 0}, {"rdi", "RDI", 0}, {"rbp", "RBP", 0}, {"rsp", "RSP", 0},
		{"r8", "R8", 0}, {"r9", "R9", 0}, {"r10", "R10", 0}, {"r11", "R11", 0},
		{"r12", "R12", 0}, {"r13", "R13", 0}, {"r14", "R14", 0}, {"r15", "R15", 0},
		{"rip", "RIP", 0}, {"rflags", "RFL", 0}, {"cpl", "CPL", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .key = "registers", .per_line = 4,
	 .columns = (const struct column[]){
		{"cr0", "CR0", 0}, {"cr2", "CR2", 0}, {"cr3", "CR3", 0}, {"cr4", "CR4", 0},
		{"efer", "EFER", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .key = "registers", .per_line = 5,
	 .columns = (const struct column[]){
		{"dr0", "DR0", 0}, {"dr1", "DR1", 0}, {"dr2", "DR2", 0}, {"dr3", "DR3", 0},
		{"dr7", "DR7", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .key = "registers", .per_line = 2,
	 .columns = (const struct column[]){
		{"gdtr", "GDTR", 0}, {"idtr", "IDTR", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .key = "registers", .per_line = 3,
	 .columns = (const struct column[]){
		{"lstar", "LSTAR", 0}, {"cstar", "CSTAR", 0}, {"star", "STAR", 0},
		{"sfmask", "SFMASK", 0}, {"sysenter_cs", "SYSENTER_CS", 0},
		{"sysenter_esp", "SYSENTER_ESP", 0}, {"sysenter_eip", "SYSENTER_EIP", 0},
		{"fs_base", "FS_BASE", 0}, {"gs_base", "GS_BASE", 0},
		{"kernel_gs_base", "KERNEL_GS_BASE", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .key = "selectors", .per_line = 8,
	 .columns = (const struct column[]){
		{"es", "ES", 0}, {"cs", "CS", 0}, {"ss", "SS", 0}, {"ds", "DS", 0},
		{"fs", "FS", 0}, {"gs", "GS", 0}, {"ldtr", "LDTR", 0}, {"tr", "TR", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .key = "symbols", .per_line = 1,
	 .columns = (const struct column[]){{"rip", "RIP", 0}, {"lstar", "LSTAR", 0}, {0}}},
	{0},
};

static const struct layout regs_layout[] = {
	{.kind = LAYOUT_EACH, .key = "vcpus", .inner = regs_inner},
	{0},
};

static json_t *table_json(const struct ka_table_register *table)
{
	return json_pack("{s:o, s:o}", "base", output_hex(table->base),
			 "limit", output_short_hex(table->limit));
}

struct named_value {
	const char *name;
	uint64_t value;
};

static void add_values(json_t *object, const struct named_value *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_object_set_new(object, values[i].name, output_hex(values[i].value));
}

static void add_msrs(json_t *object, const struct ka_registers *r)
{
	const struct named_value msrs[] = {
		{"lstar", r->lstar}, {"cstar", r->cstar}, {"star", r->star}, {"sfmask", r->sfmask},
	};
	const struct named_value sysenter[] = {
		{"sysenter_cs", r->sysenter_cs}, {"sysenter_esp", r->sysenter_esp},
		{"sysenter_eip", r->sysenter_eip},
	};

	if (r->flags & KA_REGISTERS_NO_MSRS)
		return;
	add_values(object, msrs, sizeof(msrs) / sizeof(msrs[0]));
	if (!(r->flags & KA_REGISTERS_NO_VMCS))
		add_values(object, sysenter, sizeof(sysenter) / sizeof(sysenter[0]));
}

/* What this host cannot read is left out rather than shown as zero. */
static json_t *registers_json(const struct ka_registers *r)
{
	const struct named_value values[] = {
		{"cr0", r->cr0}, {"cr2", r->cr2}, {"cr4", r->cr4}, {"efer", r->efer},
		{"dr0", r->dr[0]}, {"dr1", r->dr[1]}, {"dr2", r->dr[2]}, {"dr3", r->dr[3]},
		{"dr7", r->dr7},
	};
	const struct named_value of_vmcs[] = {
		{"rip", r->rip}, {"rflags", r->rflags}, {"cr3", r->cr3}, {"fs_base", r->fs_base},
		{"gs_base", r->gs_base}, {"kernel_gs_base", r->kernel_gs_base},
	};
	bool no_vmcs = r->flags & KA_REGISTERS_NO_VMCS;
	json_t *object = json_object();

	for (size_t i = 0; i < 16; i++)
		if (i != KA_RSP || !no_vmcs)
			json_object_set_new(object, gpr_names[i], output_hex(r->gpr[i]));
	add_values(object, values, sizeof(values) / sizeof(values[0]));
	add_msrs(object, r);
	if (no_vmcs)
		return object;
	add_values(object, of_vmcs, sizeof(of_vmcs) / sizeof(of_vmcs[0]));
	json_object_set_new(object, "cpl", json_integer(r->cpl));
	json_object_set_new(object, "gdtr", table_json(&r->gdtr));
	json_object_set_new(object, "idtr", table_json(&r->idtr));
	return object;
}

static json_t *vcpu_json(const struct ka_registers *r, const struct ka_kernel *kernel)
{
	json_t *vcpu = cli_state_json(r), *selectors = json_object(), *symbols;
	struct ka_paging paging = ka_paging(r);

	json_object_set_new(vcpu, "time_mono_ns",
			    json_sprintf("%llu", (unsigned long long)r->time_ns));
	if (r->flags & KA_REGISTERS_ENCRYPTED) {
		json_decref(selectors);
		return vcpu;
	}
	json_object_set_new(vcpu, "paging", json_string(cli_paging_name(&paging)));
	json_object_set_new(vcpu, "registers", registers_json(r));
	for (size_t i = 0; i < 8 && !(r->flags & KA_REGISTERS_NO_VMCS); i++)
		json_object_set_new(selectors, selector_names[i],
				    json_sprintf("0x%04x", r->selector[i]));
	json_object_set_new(vcpu, "selectors", selectors);
	if (!kernel->symbols)
		return vcpu;
	symbols = json_object();
	if (!(r->flags & KA_REGISTERS_NO_VMCS))
		json_object_set_new(symbols, "rip", cli_symbol_json(kernel, r->rip));
	if (!(r->flags & KA_REGISTERS_NO_MSRS))
		json_object_set_new(symbols, "lstar", cli_symbol_json(kernel, r->lstar));
	json_object_set_new(vcpu, "symbols", symbols);
	return vcpu;
}

int cmd_regs(struct cli *cli, int argc, char **argv)
{
	int code = cli_parse(cli, &regs_argp, argc, argv, 1, 1);
	struct ka_registers *registers;
	struct ka_kernel kernel = {0};
	json_t *vcpus;
	size_t count;

	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code && cli->symbol_count)
		code = cli_find_kernel(cli, false, &kernel);
	if (!code)
		code = cli_read_registers(cli, &registers, &count);
	if (code)
		return code;
	vcpus = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(vcpus, vcpu_json(&registers[i], &kernel));
	free(registers);
	json_object_set_new(cli_result(cli, regs_layout), "vcpus", vcpus);
	return CLI_OK;
}
