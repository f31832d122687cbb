// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Seals: what a look at a VM saw is taken down, so that the next ones can ask, for many VMs in one call,
 * whether it is so still, without reading it again.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "bpf/memory.skel.h"
#include "bpf/seal.skel.h"
#include "direct.h"
#include "kvmbpf/hash.h"
#include "prefetch.h"
#include "registers.h"
#include "seal.h"
#include "vm.h"

enum { PAGE_SIZE = 4096 };

/* ---- begin and end -------------------------------------------------------------------------- */

void *seals_map(const struct bpf_map *map, size_t size)
{
	void *array = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return array == MAP_FAILED ? NULL : array;
}

static int programs_load(struct ka_host *host, struct seals *seals, bool sentries)
{
	struct seal_bpf *programs = seals->programs = seal_bpf__open();
	const struct direct *direct = host->direct;

	if (!programs)
		return -errno;
	if (sentries)
		sentries_choose(host, programs);
	if (getrandom((void *)programs->rodata->hash_key, sizeof(programs->rodata->hash_key), 0) !=
	    sizeof(programs->rodata->hash_key))
		return -EIO;
	programs->bss->direct_map = direct->programs->bss->direct_map;
	programs->bss->memory_end = direct->programs->bss->memory_end;
	programs->bss->physical_mask = direct->programs->bss->physical_mask;
	programs->bss->levels = direct->programs->bss->levels;
	return seal_bpf__load(programs) ? -errno : 0;
}

/* Where the kernel refuses sentries, there are seals without. */
static int seals_load(struct ka_host *host, struct seals *seals)
{
	const bool sentries = !host_reads_vmcs(host);
	int err = sentries ? programs_load(host, seals, true) : -EOPNOTSUPP;
	struct seal_bpf *programs;

	if (err) {
		host_feature(host, "sentries", KA_FEATURE_FALLBACK,
			     sentries ? "not in this kernel (%s): user space wakes up for each look" :
					"not with a VMCS to read%s: user space wakes up for each look",
			     sentries ? strerror(-err) : "");
		seal_bpf__destroy(seals->programs);
		err = programs_load(host, seals, false);
	} else {
		host_feature(host, "sentries", KA_FEATURE_ON, "seals are looked at in the kernel");
	}
	programs = seals->programs;
	if (err)
		return err;
	seals->check_fd = bpf_program__fd(programs->progs.check_seals);
	seals->seals = seals_map(programs->maps.seals, KVMBPF_SEALS_MAX * sizeof(*seals->seals));
	seals->parts =
		seals_map(programs->maps.parts, KVMBPF_SEAL_PARTS_MAX * sizeof(*seals->parts));
	seals->checks =
		seals_map(programs->maps.checks, KVMBPF_SEAL_CHECKS_MAX * sizeof(*seals->checks));
	return seals->seals && seals->parts && seals->checks ? sentries_init(host, seals) : -ENOMEM;
}

void seals_init(struct ka_host *host)
{
	struct seals *seals;
	int err;

	if (!host->direct) {
		host_feature(host, "seals", KA_FEATURE_FALLBACK,
			     "need direct_memory: each look reads all");
		host_feature(host, "sentries", KA_FEATURE_FALLBACK,
			     "need seals: user space wakes up for each look");
		return;
	}
	seals = calloc(1, sizeof(*seals));
	err = seals ? seals_load(host, seals) : -ENOMEM;
	if (err) {
		host_feature(host, "seals", KA_FEATURE_FALLBACK,
			     "not in this kernel (%s): each look reads all", strerror(-err));
		seals_free(seals);
		return;
	}
	host_feature(host, "seals", KA_FEATURE_ON, "what is as it was is not read again");
	host->seals = seals;
}

void seals_free(struct seals *seals)
{
	if (!seals)
		return;
	sentries_free(seals);
	if (seals->seals)
		munmap(seals->seals, KVMBPF_SEALS_MAX * sizeof(*seals->seals));
	if (seals->parts)
		munmap(seals->parts, KVMBPF_SEAL_PARTS_MAX * sizeof(*seals->parts));
	if (seals->checks)
		munmap(seals->checks, KVMBPF_SEAL_CHECKS_MAX * sizeof(*seals->checks));
	seal_bpf__destroy(seals->programs);
	free(seals);
}

/* ---- what is taken down --------------------------------------------------------------------- */

/* Parts of a seal that is being made. */
struct draft {
	struct ka_vm *vm;
	const struct ka_seal_vcpu *vcpus;
	struct seal *seal;
	struct kvmbpf_seal_part *parts; /* of the roots first, vCPU by vCPU; kind UINT32_MAX: not seen */
	size_t count, max;
};

static int part_make(const struct draft *draft, uint64_t gpa, uint32_t len,
		     enum kvmbpf_seal_kind kind, uint64_t expected,
		     struct kvmbpf_seal_part *ret_part)
{
	const struct ka_memslot *slot;
	uint64_t hva, left;
	int err = memory_hva(draft->vm->vm, gpa, &hva, &left, &slot);

	if (err || left < len)
		return -EAGAIN;
	*ret_part = (struct kvmbpf_seal_part){
		.hva = hva, .expected = expected, .len = len, .kind = kind
	};
	return 0;
}

static int draft_add(struct draft *draft, const struct kvmbpf_seal_part *part)
{
	size_t max = draft->max ? draft->max * 2 : 64;
	struct kvmbpf_seal_part *parts;

	/* Walks share their upper entries. */
	for (size_t i = 0; part->kind != KVMBPF_SEAL_BYTES && i < draft->count; i++)
		if (draft->parts[i].hva == part->hva && draft->parts[i].kind == part->kind)
			return draft->parts[i].expected == part->expected ? 0 : -EAGAIN;
	if (draft->count == draft->max) {
		parts = reallocarray(draft->parts, max, sizeof(*parts));
		if (!parts)
			return -ENOMEM;
		draft->parts = parts;
		draft->max = max;
	}
	draft->parts[draft->count++] = *part;
	return 0;
}

/* The vCPU whose CR3 these page tables are of; vcpu_count: of none, they stay. */
static size_t vcpu_of(const struct draft *draft, const struct ka_paging *paging)
{
	size_t i = 0;

	while (i < draft->seal->vcpu_count && draft->vcpus[i].paging != paging)
		i++;
	return i;
}

uint64_t seal_hash(const struct seals *seals, const void *bytes, size_t len)
{
	uint64_t sum = 0, word;

	for (size_t i = 0; i * sizeof(word) < len; i++) {
		size_t left = len - i * sizeof(word);

		word = 0;
		memcpy(&word, (const char *)bytes + i * sizeof(word),
		       left < sizeof(word) ? left : sizeof(word));
		sum = kvmbpf_hash_add(sum, word, seals->programs->rodata->hash_key[i]);
	}
	return sum;
}

/* Which of the seal's root entries leads to this address. */
static size_t root_of(const struct seal *seal, const struct kvmbpf_paging_state *state, uint64_t gva)
{
	unsigned int shift = kvmbpf_walk_shift(state, kvmbpf_walk_levels(state));
	size_t i = 0;

	while (i < seal->root_count && seal->root_gva[i] >> shift != gva >> shift)
		i++;
	return i;
}

static int draft_walk(struct draft *draft, const struct ka_piece *piece,
		      const struct kvmbpf_walk *walk)
{
	struct kvmbpf_paging_state state = paging_state(piece->paging);
	uint32_t size = kvmbpf_walk_entry_size(&state);
	enum kvmbpf_seal_kind kind = size == sizeof(uint64_t) ? KVMBPF_SEAL_ENTRY :
								KVMBPF_SEAL_ENTRY_32BIT;
	const struct seal *seal = draft->seal;
	size_t vcpu = vcpu_of(draft, piece->paging), root = root_of(seal, &state, piece->address);
	struct kvmbpf_seal_part part;
	int err = 0;

	for (unsigned int i = 0; i < walk->depth && !err; i++) {
		err = part_make(draft, walk->step[i].gpa, size, kind, walk->step[i].entry, &part);
		if (!err && !i && vcpu < seal->vcpu_count)
			draft->parts[vcpu * seal->root_count + root] = part;
		else if (!err)
			err = draft_add(draft, &part);
	}
	return err;
}

static int draft_piece(struct draft *draft, const struct ka_piece *piece)
{
	struct kvmbpf_seal_part part;
	struct kvmbpf_walk walk;
	int err;

	if (!piece->paging || piece->error ||
	    piece->len > PAGE_SIZE - piece->address % PAGE_SIZE)
		return -EINVAL;
	err = translate_walk(draft->vm, piece->paging, piece->address, &walk);
	if (err || walk.gpa != piece->gpa)
		return err == -EOWNERDEAD ? err : -EAGAIN;
	err = draft_walk(draft, piece, &walk);
	if (err || !piece->buf || !piece->len)
		return err;
	err = part_make(draft, walk.gpa, piece->len, KVMBPF_SEAL_BYTES,
			seal_hash(draft->vm->host->seals, piece->buf, piece->len), &part);
	return err ? err : draft_add(draft, &part);
}

/* Which entries of their roots the vCPUs' pieces are under. */
static int draft_roots(struct draft *draft, const struct ka_piece *pieces, size_t count)
{
	struct seal *seal = draft->seal;

	for (size_t i = 0; i < count; i++) {
		struct kvmbpf_paging_state state;

		if (!pieces[i].paging || vcpu_of(draft, pieces[i].paging) == seal->vcpu_count)
			continue;
		state = paging_state(pieces[i].paging);
		if (root_of(seal, &state, pieces[i].address) < seal->root_count)
			continue;
		if (seal->root_count == SEAL_ROOTS_MAX)
			return -ENOSPC;
		seal->root_gva[seal->root_count++] = pieces[i].address;
	}
	draft->count = draft->max = seal->vcpu_count * seal->root_count;
	draft->parts = calloc(draft->count + 1, sizeof(*draft->parts));
	if (!draft->parts)
		return -ENOMEM;
	for (size_t i = 0; i < draft->count; i++)
		draft->parts[i].kind = UINT32_MAX;
	return 0;
}

static int draft_fill(struct draft *draft, const struct ka_piece *pieces, size_t count)
{
	size_t roots;
	int err = draft_roots(draft, pieces, count);

	roots = draft->count;
	for (size_t i = 0; i < count && !err; i++)
		err = draft_piece(draft, &pieces[i]);
	for (size_t i = 0; i < roots && !err; i++)
		if (draft->parts[i].kind == UINT32_MAX)
			err = -EINVAL;
	return err;
}

/* ---- where it is kept ----------------------------------------------------------------------- */

/* So many blocks in a row. */
static int blocks_take(struct seals *seals, uint32_t count, uint32_t *ret_first)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < SEAL_BLOCKS; i++) {
		run = seals->block_used[i] ? 0 : run + 1;
		if (run < count)
			continue;
		*ret_first = i + 1 - count;
		memset(&seals->block_used[*ret_first], true, count);
		return 0;
	}
	return -ENOSPC;
}

static int seal_place(struct seals *seals, struct seal *seal, const struct draft *draft)
{
	const size_t parts = draft->count + seal->vcpu_count;
	uint32_t blocks = (uint32_t)(parts + SEAL_BLOCK_PARTS - 1) / SEAL_BLOCK_PARTS, first;
	uint32_t index = 0;

	while (index < KVMBPF_SEALS_MAX && seals->used[index])
		index++;
	if (!draft->count)
		return -EINVAL;
	if (index == KVMBPF_SEALS_MAX || blocks_take(seals, blocks, &first))
		return -ENOSPC;
	seals->used[index] = true;
	seal->index = index;
	seal->blocks = blocks;
	seal->first = first * SEAL_BLOCK_PARTS;
	seal->count = (uint32_t)draft->count;
	memcpy(&seals->parts[seal->first], draft->parts, draft->count * sizeof(*draft->parts));
	seals->seals[index] = (struct kvmbpf_seal){
		.number = ++seals->number,
		.kvm = draft->vm->vm->kvm,
		.clock_offset = draft->vm->vm->clock_offset,
		.generation = draft->vm->vm->generation,
		.first = seal->first,
		.count = seal->count,
		.vcpus = (uint32_t)seal->vcpu_count,
	};
	return 0;
}

/* ---- vCPUs ---------------------------------------------------------------------------------- */

/* But for CR3, under which the same must lie. */
static bool vcpu_same(const struct kvmbpf_vcpu *state, const struct kvmbpf_seal_registers *sealed)
{
	struct kvmbpf_seal_registers now;

	kvmbpf_seal_registers(state, &now);
	return !memcmp(&now, sealed, offsetof(struct kvmbpf_seal_registers, cr3));
}

/* Did the caller see the vCPU as it is now? */
static bool vcpu_seen(struct ka_vm *vm, const struct kvmbpf_vcpu *state,
		      const struct ka_registers *seen)
{
	struct ka_registers now;

	registers_from_state(state, &now);
	registers_complete(vm, &now);
	return now.vcpu == seen->vcpu && now.flags == seen->flags && now.cr0 == seen->cr0 &&
	       now.cr3 == seen->cr3 && now.cr4 == seen->cr4 && now.efer == seen->efer &&
	       now.gdtr.base == seen->gdtr.base && now.gdtr.limit == seen->gdtr.limit &&
	       now.idtr.base == seen->idtr.base && now.idtr.limit == seen->idtr.limit &&
	       now.lstar == seen->lstar && now.cstar == seen->cstar && now.star == seen->star &&
	       now.sfmask == seen->sfmask && now.sysenter_cs == seen->sysenter_cs &&
	       now.sysenter_esp == seen->sysenter_esp && now.sysenter_eip == seen->sysenter_eip &&
	       !memcmp(now.dr, seen->dr, sizeof(now.dr)) && now.dr7 == seen->dr7;
}

static int draft_vcpus(struct draft *draft)
{
	const struct host_vm *found = draft->vm->vm;

	for (size_t i = 0; i < draft->seal->vcpu_count; i++) {
		struct kvmbpf_vcpu state;

		if (found->vcpus[i].slot == NO_SLOT ||
		    state_copy(&draft->vm->host->states[found->vcpus[i].slot], &state) ||
		    !vcpu_seen(draft->vm, &state, draft->vcpus[i].registers))
			return -EAGAIN;
		kvmbpf_seal_registers(&state, &draft->seal->vcpus[i]);
	}
	return 0;
}

/* Another process runs there: its page tables must lead on as the others did. */
static bool roots_follow(struct ka_vm *vm, struct seal *seal, size_t vcpu, uint64_t cr3)
{
	struct kvmbpf_seal_part *parts =
		&vm->host->seals->parts[seal->first + vcpu * seal->root_count];
	const struct kvmbpf_seal_registers *sealed = &seal->vcpus[vcpu];
	const struct ka_registers registers = {
		.cr0 = sealed->cr0, .cr3 = cr3, .cr4 = sealed->cr4, .efer = sealed->efer
	};
	const struct ka_paging paging = ka_paging(&registers);
	uint64_t hva[SEAL_ROOTS_MAX], left;

	for (size_t i = 0; i < seal->root_count; i++) {
		struct kvmbpf_paging_state state = paging_state(&paging);
		const struct ka_memslot *slot;
		struct kvmbpf_walk start;

		if (kvmbpf_walk_begin(&state, seal->root_gva[i], &start) < 0 ||
		    memory_hva(vm->vm, start.step[0].gpa, &hva[i], &left, &slot) ||
		    left < parts[i].len)
			return false;
	}
	/* All of them or none: the parts are those of the CR3 that is noted. */
	for (size_t i = 0; i < seal->root_count; i++)
		parts[i].hva = hva[i];
	seal->vcpus[vcpu].cr3 = cr3;
	return true;
}

/* As the last pull read them. */
static bool vcpus_same(struct ka_vm *vm, struct seal *seal)
{
	if (vm->vm->vcpu_count != seal->vcpu_count || !registers_pulled(vm))
		return false;
	for (size_t i = 0; i < seal->vcpu_count; i++) {
		const struct kvmbpf_vcpu *state = &vm->host->states[vm->vm->vcpus[i].slot];
		uint32_t seq = __atomic_load_n(&state->seq, __ATOMIC_ACQUIRE);
		bool same = !(seq & 1) && vcpu_same(state, &seal->vcpus[i]);
		uint64_t cr3 = state->cr3;

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!same || __atomic_load_n(&state->seq, __ATOMIC_RELAXED) != seq)
			return false;
		if (cr3 != seal->vcpus[i].cr3 && !roots_follow(vm, seal, i, cr3))
			return false;
	}
	return true;
}

/* ---- calls ---------------------------------------------------------------------------------- */

void ka_unseal(struct ka_vm *vm)
{
	struct seals *seals = vm->host->seals;
	struct seal *seal = vm->seal;

	if (!seal)
		return;
	if (vm->sentry)
		ka_sentry_relieve(vm->sentry);
	vm->seal = NULL;
	seals->used[seal->index] = false;
	memset(&seals->block_used[seal->first / SEAL_BLOCK_PARTS], false, seal->blocks);
	free(seal);
}

int ka_seal(struct ka_vm *vm, const struct ka_seal_vcpu *vcpus, size_t vcpu_count,
	    const struct ka_piece *pieces, size_t piece_count)
{
	struct draft draft = { .vm = vm, .vcpus = vcpus };
	int err;

	ka_unseal(vm);
	if (!vm->vm)
		return -EOWNERDEAD;
	if (!vm->host->seals)
		return -EOPNOTSUPP;
	if (!vcpu_count || vcpu_count != vm->vm->vcpu_count)
		return -EAGAIN;
	draft.seal = calloc(1, sizeof(*draft.seal) + vcpu_count * sizeof(draft.seal->vcpus[0]));
	if (!draft.seal)
		return -ENOMEM;
	draft.seal->vcpu_count = vcpu_count;
	err = draft_vcpus(&draft);
	if (!err)
		err = draft_fill(&draft, pieces, piece_count);
	if (!err)
		err = seal_place(vm->host->seals, draft.seal, &draft);
	free(draft.parts);
	if (err)
		free(draft.seal);
	else
		vm->seal = draft.seal;
	return err;
}

static int check_run(struct seals *seals, uint32_t count)
{
	struct kvmbpf_seal_call call = { .count = count };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));
	int err = bpf_prog_test_run_opts(seals->check_fd, &options);

	return err ? err : (int)options.retval;
}

/* So many VMs, from the first: how many of them went into `checks`. */
static uint32_t checks_fill(struct seals *seals, struct ka_vm *const *vms, size_t count,
			    bool *ret_asked)
{
	enum { AHEAD = 3 };
	uint32_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (vms[i]->sentry)
			ka_sentry_relieve(vms[i]->sentry);
		if (i + AHEAD < count && vms[i + AHEAD]->seal)
			prefetch(vms[i + AHEAD]->seal,
				 sizeof(struct seal) + sizeof(vms[0]->seal->vcpus[0]));
		ret_asked[i] = vms[i]->seal && vms[i]->vm && vcpus_same(vms[i], vms[i]->seal);
		if (ret_asked[i])
			seals->checks[n++] =
				(struct kvmbpf_seal_check){ .seal = vms[i]->seal->index };
	}
	return n;
}

int ka_seals_check(struct ka_host *host, struct ka_vm *const *vms, size_t count, bool *ret_intact)
{
	struct seals *seals = host->seals;
	uint32_t asked, n;
	int err = 0;

	memset(ret_intact, false, count * sizeof(*ret_intact));
	if (!seals)
		return -EOPNOTSUPP;
	for (size_t i = 0, part; i < count && !err; i += part) {
		part = count - i < KVMBPF_SEAL_CHECKS_MAX ? count - i : KVMBPF_SEAL_CHECKS_MAX;
		asked = checks_fill(seals, vms + i, part, ret_intact + i);
		err = asked ? check_run(seals, asked) : 0;
		n = 0;
		for (size_t j = i; j < i + part; j++) {
			ret_intact[j] = ret_intact[j] && !err && seals->checks[n++].intact;
			/* The pull was for this. */
			if (ret_intact[j])
				vms[j]->pulled = false;
		}
	}
	return err;
}
