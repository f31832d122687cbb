// SPDX-License-Identifier: LGPL-2.1-or-later
/* Page walks over memory that is the fuzzer's: they end, and all ways to the result agree. */
#include "kvmbpf/pagewalk.h"

#include <string.h>

#include "fuzz.h"

/* The input: state and address, then memory, which repeats so that no address lies far off. */
struct input {
	struct kvmbpf_paging_state state;
	__u64 gva;
};

struct memory {
	const uint8_t *bytes;
	size_t len;
	unsigned int reads;
};

static int memory_read(void *ctx, __u64 gpa, void *buf, __u32 len)
{
	struct memory *memory = ctx;
	__u32 i;

	memory->reads++;
	CHECK(len == 4 || len == 8);
	CHECK(gpa % len == 0);
	if (!memory->len || gpa >> 50)
		return -EIO;
	for (i = 0; i < len; i++)
		((uint8_t *)buf)[i] = memory->bytes[(gpa + i) % memory->len];
	return 0;
}

static void check_result(const struct input *input, const struct kvmbpf_walk *walk)
{
	const struct kvmbpf_paging_state *state = &input->state;

	CHECK(walk->page_size == 4096 || walk->page_size == 2 << 20 ||
	      walk->page_size == 4 << 20 || walk->page_size == 1 << 30);
	if (kvmbpf_walk_levels(state)) {
		CHECK((walk->gpa ^ input->gva) % walk->page_size == 0);
		CHECK(walk->gpa >> kvmbpf_walk_maxphyaddr(state) == 0);
		CHECK(walk->depth > 0);
	}
	CHECK(walk->depth <= kvmbpf_walk_levels(state));
	CHECK(walk->rights <= 7);
}

static void check_resolve(const struct input *input, const struct kvmbpf_walk *walk)
{
	struct kvmbpf_walk_step steps[KVMBPF_WALK_LEVELS + 1] = { 0 };
	const struct kvmbpf_paging_state *state = &input->state;
	struct kvmbpf_walk again;

	memcpy(steps, walk->step, sizeof(walk->step));
	CHECK(kvmbpf_walk_resolve(state, input->gva, steps, walk->depth, &again) == 0);
	CHECK(!memcmp(walk, &again, sizeof(again)));
	CHECK(kvmbpf_walk_resolve(state, input->gva, steps, walk->depth + 1, &again) == -ESTALE);
	if (!walk->depth)
		return;
	CHECK(kvmbpf_walk_resolve(state, input->gva, steps, walk->depth - 1, &again) == -ESTALE);
	steps[walk->depth - 1].gpa ^= 4096;
	CHECK(kvmbpf_walk_resolve(state, input->gva, steps, walk->depth, &again) == -ESTALE);
	steps[walk->depth - 1].gpa ^= 4096;
	steps[walk->depth - 1].entry = 0;
	CHECK(kvmbpf_walk_resolve(state, input->gva, steps, walk->depth, &again) == -EFAULT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct kvmbpf_walk walk, untouched;
	struct memory memory;
	struct input input;
	int err;

	if (len < sizeof(input))
		return 0;
	memcpy(&input, data, sizeof(input));
	input.state.mode %= KVMBPF_PAGING_5LEVEL + 1;
	memory = (struct memory){ data + sizeof(input), len - sizeof(input), 0 };
	memset(&walk, 0x5a, sizeof(walk));
	untouched = walk;
	CHECK(kvmbpf_paging_mode(input.gva, input.state.root, input.state.root >> 20) <=
	      KVMBPF_PAGING_5LEVEL);
	err = kvmbpf_walk(&input.state, input.gva, memory_read, &memory, &walk);
	CHECK(memory.reads <= kvmbpf_walk_levels(&input.state));
	if (err) {
		CHECK(err == -EFAULT || err == -EINVAL || err == -EBADMSG || err == -EIO);
		CHECK(!memcmp(&walk, &untouched, sizeof(walk)));
		return 0;
	}
	check_result(&input, &walk);
	check_resolve(&input, &walk);
	return 0;
}
