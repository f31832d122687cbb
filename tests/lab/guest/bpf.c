// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * bpf MILLISECONDS FUNCTION...: has BPF programs at the entries of these kernel functions, and at
 * what the loopback device receives, for so long.
 */
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOOPBACK = 1, BTF_MAX = 32 << 20 };

static const struct bpf_insn code[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
	{ .code = BPF_JMP | BPF_EXIT },
};
/* A program at a function's entry returns 0. */
static const struct bpf_insn zero[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
	{ .code = BPF_JMP | BPF_EXIT },
};

static int bpf(int command, union bpf_attr *attr)
{
	int fd = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	if (fd < 0)
		perror("bpf");
	return fd;
}

/* What follows a struct btf_type. */
static size_t rest_of(const struct btf_type *type)
{
	unsigned int n = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case 17: /* DECL_TAG */
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	case 19: /* ENUM64 */
		return n * 12;
	default:
		return 0;
	}
}

static unsigned int find_function(const char *btf, const char *name)
{
	const struct btf_header *header = (const void *)btf;
	const char *at = btf + header->hdr_len + header->type_off, *end = at + header->type_len;
	const char *strings = btf + header->hdr_len + header->str_off;

	for (unsigned int id = 1; at < end; id++) {
		const struct btf_type *type = (const void *)at;

		if (BTF_INFO_KIND(type->info) == BTF_KIND_FUNC &&
		    !strcmp(strings + type->name_off, name))
			return id;
		at += sizeof(*type) + rest_of(type);
	}
	fprintf(stderr, "bpf: no function %s\n", name);
	exit(1);
}

static const char *read_btf(void)
{
	int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY);
	char *btf = malloc(BTF_MAX);
	ssize_t n, len = 0;

	while (fd >= 0 && btf && (n = read(fd, btf + len, BTF_MAX - (size_t)len)) > 0)
		len += n;
	if (len)
		return btf;
	perror("bpf: /sys/kernel/btf/vmlinux");
	exit(1);
}

static int attach_entry(unsigned int function)
{
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_TRACING,
				.expected_attach_type = BPF_TRACE_FENTRY,
				.attach_btf_id = function,
				.insns = (unsigned long)zero,
				.insn_cnt = 2,
				.license = (unsigned long)"GPL" };
	union bpf_attr attach = { 0 };

	attach.raw_tracepoint.prog_fd = (unsigned int)bpf(BPF_PROG_LOAD, &load);
	return bpf(BPF_RAW_TRACEPOINT_OPEN, &attach);
}

static int attach_loopback(void)
{
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_XDP,
				.insns = (unsigned long)code,
				.insn_cnt = 2,
				.license = (unsigned long)"GPL" };
	union bpf_attr attach = { 0 };

	attach.link_create.prog_fd = (unsigned int)bpf(BPF_PROG_LOAD, &load);
	attach.link_create.target_ifindex = LOOPBACK;
	attach.link_create.attach_type = BPF_XDP;
	attach.link_create.flags = XDP_FLAGS_SKB_MODE;
	return bpf(BPF_LINK_CREATE, &attach);
}

int main(int argc, char **argv)
{
	const char *btf = read_btf();
	int failed = attach_loopback() < 0;

	for (int i = 2; i < argc; i++)
		failed |= attach_entry(find_function(btf, argv[i])) < 0;
	usleep(argc > 1 ? (unsigned int)atoi(argv[1]) * 1000 : 0);
	return failed;
}
