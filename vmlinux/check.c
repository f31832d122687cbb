// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Holds the kernel types that a BPF object relocates against the BTF of kernels.
 *
 * The verifier would say the same, but only on the machine with that kernel, and CO-RE accepts a
 * member whose size changed. What is checked is what the object's CO-RE relocations name, and the
 * structs that lie inside of it by value.
 */
#define _GNU_SOURCE
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KERNELS_MAX = 32, IMAGES_MAX = 8, TYPES_MAX = 512, DEPTH_MAX = 16 };

/* Types that only one module has: absent without a word where it was not given. */
static const struct { const char *prefix, *module; } vendor_types[] = {
	{"vcpu_svm", "kvm-amd.ko"},   {"kvm_svm", "kvm-amd.ko"},   {"vmcb", "kvm-amd.ko"},
	{"kvm_vmcb", "kvm-amd.ko"},   {"vcpu_vmx", "kvm-intel.ko"}, {"kvm_vmx", "kvm-intel.ko"},
	{"vmcs", "kvm-intel.ko"},     {"loaded_vmcs", "kvm-intel.ko"}, {"vmx_", "kvm-intel.ko"},
	{"vcpu_pvm", "kvm-pvm.ko"},   {"kvm_pvm", "kvm-pvm.ko"},   {"pvm_", "kvm-pvm.ko"},
};

struct image {
	char *path;
	struct btf *btf;
	__u32 first;          /* type id: those below are the base's */
};

struct kernel {
	struct image image[IMAGES_MAX];
	size_t count;
};

struct wanted {
	__u32 id;
	bool seen, matched;   /* in any kernel: the name, the whole type */
};

struct checker {
	struct btf *object;
	struct wanted wanted[TYPES_MAX];
	size_t wanted_count;
	struct kernel kernel[KERNELS_MAX];
	size_t kernel_count;
	unsigned int mismatches, skipped;
};

/* ---- what the object wants ----------------------------------------------------------------- */

static const struct btf_type *resolve(const struct btf *btf, __u32 id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	while (type && (btf_is_mod(type) || btf_is_typedef(type)))
		type = btf__type_by_id(btf, type->type);
	return type;
}

static const char *type_name(const struct btf *btf, const struct btf_type *type)
{
	const char *name = btf__name_by_offset(btf, type->name_off);

	return name ? name : "";
}

/* Length of a name without its ___flavor. */
static size_t essential(const char *name)
{
	const char *flavor = strstr(name, "___");

	return flavor && flavor != name ? (size_t)(flavor - name) : strlen(name);
}

static bool same_name(const char *a, const char *b)
{
	return essential(a) == essential(b) && !strncmp(a, b, essential(a));
}

static bool is_flavor(const char *name)
{
	return name[essential(name)] != '\0';
}

static int want(struct checker *c, __u32 id, unsigned int depth)
{
	const struct btf_type *type = btf__type_by_id(c->object, id);
	const struct btf_member *member;
	int err = 0;

	while (type && (btf_is_mod(type) || btf_is_typedef(type) || btf_is_array(type))) {
		id = btf_is_array(type) ? btf_array(type)->type : type->type;
		type = btf__type_by_id(c->object, id);
	}
	if (!type || !(btf_is_composite(type) || btf_is_any_enum(type)) || depth == DEPTH_MAX)
		return 0;
	for (size_t i = 0; i < c->wanted_count; i++)
		if (c->wanted[i].id == id)
			return 0;
	if (*type_name(c->object, type)) {
		if (c->wanted_count == TYPES_MAX)
			return -E2BIG;
		c->wanted[c->wanted_count++].id = id;
	}
	if (!btf_is_composite(type))
		return 0;
	member = btf_members(type);
	for (unsigned int i = 0; !err && i < btf_vlen(type); i++)
		err = want(c, member[i].type, depth + 1);
	return err;
}

/* The head of .BTF.ext up to what we need; libbpf keeps its own declaration to itself. */
struct ext_header {
	__u16 magic;
	__u8 version, flags;
	__u32 hdr_len, func_info_off, func_info_len, line_info_off, line_info_len;
	__u32 core_relo_off, core_relo_len;
};

static int want_relocated(struct checker *c, const struct btf_ext *ext)
{
	__u32 size, record_size, pos, end;
	const char *raw = btf_ext__get_raw_data(ext, &size);
	const struct ext_header *header = (const void *)raw;

	if (size < sizeof(*header) || header->hdr_len < sizeof(*header))
		return -ENODATA;
	if (!header->core_relo_len) /* follows no pointer */
		return 0;
	pos = header->hdr_len + header->core_relo_off;
	end = pos + header->core_relo_len;
	if (pos + sizeof(record_size) > end || end > size)
		return -ENODATA;
	memcpy(&record_size, raw + pos, sizeof(record_size));
	if (record_size < sizeof(struct bpf_core_relo))
		return -EBADMSG;
	for (pos += sizeof(record_size); pos + 8 <= end; ) {
		__u32 count;

		memcpy(&count, raw + pos + 4, sizeof(count));
		for (pos += 8; count && pos + record_size <= end; count--, pos += record_size) {
			const struct bpf_core_relo *relo = (const void *)(raw + pos);
			int err = 0;

			if (relo->kind != BPF_CORE_TYPE_ID_LOCAL)
				err = want(c, relo->type_id, 0);
			if (err)
				return err;
		}
	}
	return c->wanted_count ? 0 : -ENODATA;
}

static int load_object(struct checker *c, const char *path)
{
	struct btf_ext *ext = NULL;
	int err;

	c->object = btf__parse_elf(path, &ext);
	err = libbpf_get_error(c->object);
	if (err)
		c->object = NULL;
	else
		err = ext ? want_relocated(c, ext) : -ENODATA;
	if (err)
		fprintf(stderr, "check: %s: %s\n", path, err == -ENODATA ?
			"no CO-RE relocations" : strerror(-err));
	btf_ext__free(ext);
	return err;
}

/* ---- what the kernels have ----------------------------------------------------------------- */

/* "vmlinux,module.ko,…" */
static int load_kernel(struct kernel *kernel, char *list)
{
	char *save, *path = strtok_r(list, ",", &save);

	for (; path; path = strtok_r(NULL, ",", &save)) {
		struct btf *base = kernel->count ? kernel->image[0].btf : NULL;
		struct btf *btf;
		int err;

		if (kernel->count == IMAGES_MAX) {
			fprintf(stderr, "check: %s: more than %d files\n", path, IMAGES_MAX);
			return -E2BIG;
		}
		btf = base ? btf__parse_split(path, base) : btf__parse(path, NULL);
		err = libbpf_get_error(btf);
		if (err) {
			fprintf(stderr, "check: %s: no BTF: %s\n", path, strerror(-err));
			return err;
		}
		kernel->image[kernel->count++] = (struct image){
			.path = path, .btf = btf, .first = base ? btf__type_cnt(base) : 1,
		};
	}
	return kernel->count ? 0 : -EINVAL;
}

static bool has_module(const struct kernel *kernel, const char *module)
{
	for (size_t i = 1; i < kernel->count; i++)
		if (!strcmp(basename(kernel->image[i].path), module))
			return true;
	return false;
}

static bool may_lack(const struct kernel *kernel, const char *name)
{
	for (size_t i = 0; i < sizeof(vendor_types) / sizeof(vendor_types[0]); i++)
		if (!strncmp(name, vendor_types[i].prefix, strlen(vendor_types[i].prefix)))
			return !has_module(kernel, vendor_types[i].module);
	return false;
}

/* ---- comparing ----------------------------------------------------------------------------- */

/* One type of the object against one of a kernel. */
struct comparison {
	const struct btf *object, *kernel;
	FILE *out;             /* of the differences */
	unsigned int differences;
};

__attribute__((format(printf, 2, 3)))
static void differ(struct comparison *cmp, const char *format, ...)
{
	va_list args;

	cmp->differences++;
	va_start(args, format);
	vfprintf(cmp->out, format, args);
	va_end(args);
}

static const char *kind_name(const struct btf_type *type)
{
	static const char *const names[] = {
		[BTF_KIND_UNKN] = "void", [BTF_KIND_INT] = "integer", [BTF_KIND_PTR] = "pointer",
		[BTF_KIND_ARRAY] = "array", [BTF_KIND_STRUCT] = "struct",
		[BTF_KIND_UNION] = "union", [BTF_KIND_ENUM] = "enum", [BTF_KIND_FWD] = "forward",
		[BTF_KIND_FUNC_PROTO] = "function", [BTF_KIND_FLOAT] = "float",
	};
	unsigned int kind = btf_is_enum64(type) ? BTF_KIND_ENUM : btf_kind(type);

	return kind < sizeof(names) / sizeof(names[0]) && names[kind] ? names[kind] : "other";
}

static void compare_members(struct comparison *cmp, const char *path, const struct btf_type *ours,
			    const struct btf_type *theirs, unsigned int depth);

/* A pointer reads the same whatever it points to; that its target was renamed still matters. */
static void compare_pointers(struct comparison *cmp, const char *path, const struct btf_type *ours,
			     const struct btf_type *theirs)
{
	const struct btf_type *our_target = resolve(cmp->object, ours->type);
	const struct btf_type *their_target = resolve(cmp->kernel, theirs->type);
	const char *our_name, *their_name;

	if (!our_target || !their_target)
		return;
	our_name = type_name(cmp->object, our_target);
	their_name = type_name(cmp->kernel, their_target);
	if ((btf_is_composite(our_target) || btf_is_fwd(our_target)) && *our_name &&
	    !same_name(our_name, their_name))
		differ(cmp, "%s points to %s, in the kernel to %s\n", path, our_name,
		       *their_name ? their_name : kind_name(their_target));
}

static void compare_types(struct comparison *cmp, const char *path, __u32 our_id, __u32 their_id,
			  unsigned int depth)
{
	const struct btf_type *ours = resolve(cmp->object, our_id);
	const struct btf_type *theirs = resolve(cmp->kernel, their_id);

	if (!ours || !theirs || depth == DEPTH_MAX)
		return;
	if (strcmp(kind_name(ours), kind_name(theirs))) {
		differ(cmp, "%s is %s, in the kernel %s\n", path, kind_name(ours),
		       kind_name(theirs));
	} else if (btf_is_array(ours)) {
		unsigned int our_count = btf_array(ours)->nelems;
		unsigned int their_count = btf_array(theirs)->nelems;

		if (their_count && our_count > their_count)
			differ(cmp, "%s has %u entries, in the kernel %u\n", path, our_count,
			       their_count);
		compare_types(cmp, path, btf_array(ours)->type, btf_array(theirs)->type,
			      depth + 1);
	} else if (btf_is_ptr(ours)) {
		compare_pointers(cmp, path, ours, theirs);
	} else if (btf_is_composite(ours)) {
		const char *our_name = type_name(cmp->object, ours);
		const char *their_name = type_name(cmp->kernel, theirs);

		/* A type with a name is compared for itself. */
		if (!*our_name)
			compare_members(cmp, path, ours, theirs, depth + 1);
		else if (!same_name(our_name, their_name))
			differ(cmp, "%s is %s, in the kernel %s\n", path, our_name,
			       *their_name ? their_name : "unnamed");
	} else if (ours->size != theirs->size) {
		differ(cmp, "%s has %u bytes, in the kernel %u\n", path, ours->size, theirs->size);
	}
}

/* Looks into unnamed structs and unions too, as CO-RE does. */
static const struct btf_member *find_member(const struct btf *btf, const struct btf_type *type,
					    const char *name, unsigned int *ret_bits,
					    unsigned int depth)
{
	const struct btf_member *member = btf_members(type);

	for (unsigned int i = 0; i < btf_vlen(type) && depth < DEPTH_MAX; i++) {
		const char *member_name = btf__name_by_offset(btf, member[i].name_off);
		const struct btf_type *inner = resolve(btf, member[i].type);
		const struct btf_member *found;

		if (!strcmp(member_name, name)) {
			*ret_bits = btf_member_bitfield_size(type, i);
			return &member[i];
		}
		if (*member_name || !inner || !btf_is_composite(inner))
			continue;
		found = find_member(btf, inner, name, ret_bits, depth + 1);
		if (found)
			return found;
	}
	return NULL;
}

static void compare_members(struct comparison *cmp, const char *path, const struct btf_type *ours,
			    const struct btf_type *theirs, unsigned int depth)
{
	const struct btf_member *member = btf_members(ours), *found;
	unsigned int our_bits, their_bits;
	char where[256];

	for (unsigned int i = 0; i < btf_vlen(ours) && depth < DEPTH_MAX; i++) {
		const char *name = btf__name_by_offset(cmp->object, member[i].name_off);
		const struct btf_type *inner = resolve(cmp->object, member[i].type);

		if (!*name && inner && btf_is_composite(inner)) {
			compare_members(cmp, path, inner, theirs, depth + 1);
			continue;
		}
		snprintf(where, sizeof(where), "%s.%s", path, name);
		found = find_member(cmp->kernel, theirs, name, &their_bits, 0);
		if (!found) {
			differ(cmp, "%s is not in the kernel\n", where);
			continue;
		}
		our_bits = btf_member_bitfield_size(ours, i);
		if (our_bits != their_bits)
			differ(cmp, "%s has %u bits, in the kernel %u (0: no bit field)\n", where,
			       our_bits, their_bits);
		compare_types(cmp, where, member[i].type, found->type, depth + 1);
	}
}

static const char *enum_value_name(const struct btf *btf, const struct btf_type *type,
				   unsigned int i)
{
	return btf__name_by_offset(btf, btf_is_enum64(type) ? btf_enum64(type)[i].name_off :
				   btf_enum(type)[i].name_off);
}

static void compare_enums(struct comparison *cmp, const char *path, const struct btf_type *ours,
			  const struct btf_type *theirs)
{
	for (unsigned int i = 0; i < btf_vlen(ours); i++) {
		const char *name = enum_value_name(cmp->object, ours, i);
		bool found = false;

		for (unsigned int j = 0; !found && j < btf_vlen(theirs); j++)
			found = same_name(name, enum_value_name(cmp->kernel, theirs, j));
		if (!found)
			differ(cmp, "%s: %s is not in the kernel\n", path, name);
	}
}

/* ---- the check ----------------------------------------------------------------------------- */

/*
 * Compares with each type of that name, since names are not unique in a kernel. Returns how many
 * there are; *ret_text, to be freed, has the differences to the nearest, "" where one matches.
 */
static unsigned int compare_in_kernel(const struct btf *object, const struct btf_type *ours,
				      const struct kernel *kernel, char **ret_text)
{
	const char *name = type_name(object, ours);
	unsigned int candidates = 0, fewest = 0;
	struct comparison cmp = {.object = object};

	*ret_text = NULL;
	for (size_t i = 0; i < kernel->count; i++) {
		cmp.kernel = kernel->image[i].btf;
		for (__u32 id = kernel->image[i].first; id < btf__type_cnt(cmp.kernel); id++) {
			const struct btf_type *theirs = btf__type_by_id(cmp.kernel, id);
			char *text = NULL;
			size_t size;

			if (strcmp(kind_name(theirs), kind_name(ours)) ||
			    strncmp(name, type_name(cmp.kernel, theirs), essential(name)) ||
			    type_name(cmp.kernel, theirs)[essential(name)])
				continue;
			cmp.out = open_memstream(&text, &size);
			cmp.differences = 0;
			if (!cmp.out)
				abort();
			if (btf_is_composite(ours))
				compare_members(&cmp, name, ours, theirs, 0);
			else
				compare_enums(&cmp, name, ours, theirs);
			fclose(cmp.out);
			if (!candidates++ || cmp.differences < fewest) {
				fewest = cmp.differences;
				free(*ret_text);
				*ret_text = text;
			} else {
				free(text);
			}
		}
	}
	return candidates;
}

static void print_lines(const char *kernel, char *text)
{
	char *save, *line = strtok_r(text, "\n", &save);

	for (; line; line = strtok_r(NULL, "\n", &save))
		printf("%s: %s\n", kernel, line);
}

static void check_kernel(struct checker *c, const struct kernel *kernel)
{
	const char *path = kernel->image[0].path;

	for (size_t i = 0; i < c->wanted_count; i++) {
		struct wanted *wanted = &c->wanted[i];
		const struct btf_type *ours = btf__type_by_id(c->object, wanted->id);
		const char *name = type_name(c->object, ours);
		char *text;

		if (!compare_in_kernel(c->object, ours, kernel, &text)) {
			if (may_lack(kernel, name))
				c->skipped++;
			else if (!is_flavor(name) && ++c->mismatches)
				printf("%s: no %s %s\n", path, kind_name(ours), name);
			continue;
		}
		wanted->seen = true;
		if (!*text)
			wanted->matched = true;
		else if (!is_flavor(name) && ++c->mismatches)
			print_lines(path, text);
		free(text);
	}
}

/* A flavor is there for some kernels only, but for one at least. */
static void check_flavors(struct checker *c)
{
	for (size_t i = 0; i < c->wanted_count; i++) {
		const struct wanted *wanted = &c->wanted[i];
		const char *name = type_name(c->object, btf__type_by_id(c->object, wanted->id));

		if (!is_flavor(name) || !wanted->seen || wanted->matched)
			continue;
		printf("%s matches none of the %zu kernels%s\n", name, c->kernel_count,
		       c->kernel_count == 1 ? " (fine if it is for others)" : "");
		if (c->kernel_count > 1)
			c->mismatches++;
	}
}

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level, (void)format, (void)args;
	return 0;
}

static void checker_deinit(struct checker *c)
{
	/* Modules before the vmlinux that they refer to. */
	for (size_t i = 0; i < KERNELS_MAX; i++)
		for (size_t j = c->kernel[i].count; j--; )
			btf__free(c->kernel[i].image[j].btf);
	btf__free(c->object);
}

int main(int argc, char **argv)
{
	static struct checker c;
	int err = 0;

	if (argc < 3 || argc > 2 + KERNELS_MAX) {
		fprintf(stderr, "usage: check OBJECT.bpf.o VMLINUX[,MODULE.ko…]…\n"
			"Kernels are ELF files with .BTF, or raw BTF.\n"
			"Exit status: 0 all fit, 1 not, 2 error.\n");
		return 2;
	}
	libbpf_set_print(silent);
	err = load_object(&c, argv[1]);
	for (int i = 2; !err && i < argc; i++)
		err = load_kernel(&c.kernel[c.kernel_count++], argv[i]);
	if (!err) {
		for (size_t i = 0; i < c.kernel_count; i++)
			check_kernel(&c, &c.kernel[i]);
		check_flavors(&c);
		printf("%s: %zu types, %zu kernels, %u mismatches, %u skipped "
		       "(vendor module not given)\n", argv[1], c.wanted_count, c.kernel_count, c.mismatches, c.skipped);
	}
	checker_deinit(&c);
	return err ? 2 : c.mismatches ? 1 : 0;
}
