// SPDX-License-Identifier: LGPL-2.1-or-later
/* Keeps the requests in flight. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inflight.h"
#include "registers.h"
#include "vm.h"

/* An id is its request's slot and, above that, how many were filed before: never used again. */
enum { SLOT_BITS = 13, SLOTS = 1 << SLOT_BITS };
_Static_assert((int)SLOTS == KA_REQUESTS_MAX, "what the header promises");
_Static_assert(KA_REQUEST_LEN_MAX <= 64 * (int)KVMBPF_READ_MAX, "one bit a part");

#define NS_PER_MS 1000000ULL

/* ---- the table ------------------------------------------------------------------------------ */

static int table_init(struct inflight *inflight)
{
	struct inflight_request **slots = calloc(SLOTS, sizeof(*slots));
	uint32_t *spare = calloc(SLOTS, sizeof(*spare));

	if (!slots || !spare) {
		free(slots);
		free(spare);
		return -ENOMEM;
	}
	inflight->slots = slots;
	inflight->spare = spare;
	while (inflight->spare_count < SLOTS) {
		spare[inflight->spare_count] = SLOTS - 1 - inflight->spare_count;
		inflight->spare_count++;
	}
	return 0;
}

void inflight_deinit(struct inflight *inflight)
{
	for (uint32_t i = 0; inflight->slots && i < SLOTS; i++)
		free(inflight->slots[i]);
	free(inflight->slots);
	free(inflight->spare);
	*inflight = (struct inflight){0};
}

static int check(const struct ka_request *request)
{
	size_t max = KA_REQUEST_LEN_MAX;

	if (request->vcpu < KA_ANY_VCPU)
		return -EINVAL;
	switch (request->kind) {
	case KA_REQUEST_REGISTERS:
		return 0;
	case KA_REQUEST_GVA:
		/* The parts of a longer read may be served in different address spaces. */
		if (!request->paging)
			max = KVMBPF_READ_MAX;
		break;
	case KA_REQUEST_GPA:
		break;
	case KA_REQUEST_GDT:
	case KA_REQUEST_IDT:
		max = KA_REQUEST_TABLE_MAX;
		break;
	default:
		return -EINVAL;
	}
	return request->buf && request->len && request->len <= max ? 0 : -EINVAL;
}

int inflight_add(struct inflight *inflight, const struct ka_vm *vm,
		 const struct ka_request *request, uint64_t now_ns,
		 struct inflight_request **ret_filed)
{
	uint64_t deadline_ms = request->deadline_ms ? request->deadline_ms : KA_DEADLINE_MS;
	struct inflight_request *filed;
	uint32_t slot;
	int err;

	err = check(request);
	if (!err && !inflight->slots)
		err = table_init(inflight);
	if (err)
		return err;
	if (!inflight->spare_count)
		return -ENOBUFS;
	filed = calloc(1, sizeof(*filed));
	if (!filed)
		return -ENOMEM;
	slot = inflight->spare[--inflight->spare_count];
	inflight->slots[slot] = filed;
	filed->id = ++inflight->filed << SLOT_BITS | slot;
	filed->vm = vm;
	filed->request = *request;
	if (request->paging) {
		filed->paging = *request->paging;
		filed->request.paging = &filed->paging;
	}
	filed->deadline_ns = now_ns + deadline_ms * NS_PER_MS;
	filed->missing = ~0ULL >> (64 - inflight_parts(filed));
	*ret_filed = filed;
	return 0;
}

struct inflight_request *inflight_find(const struct inflight *inflight, uint64_t id)
{
	struct inflight_request *filed;

	if (!inflight->slots)
		return NULL;
	filed = inflight->slots[id % SLOTS];
	return filed && filed->id == id ? filed : NULL;
}

void inflight_remove(struct inflight *inflight, struct inflight_request *filed)
{
	uint32_t slot = filed->id % SLOTS;

	inflight->slots[slot] = NULL;
	inflight->spare[inflight->spare_count++] = slot;
	free(filed);
}

void inflight_remove_vm(struct inflight *inflight, const struct ka_vm *vm)
{
	for (uint32_t i = 0; inflight->slots && i < SLOTS; i++)
		if (inflight->slots[i] && inflight->slots[i]->vm == vm)
			inflight_remove(inflight, inflight->slots[i]);
}

/* ---- to the kernel and back ----------------------------------------------------------------- */

static uint32_t kernel_kind(const struct ka_request *request)
{
	switch (request->kind) {
	case KA_REQUEST_GVA:
		return request->paging ? KVMBPF_REQUEST_READ : KVMBPF_REQUEST_READ_HERE;
	case KA_REQUEST_REGISTERS:
		return KVMBPF_REQUEST_REGISTERS;
	case KA_REQUEST_GDT:
		return KVMBPF_REQUEST_GDT;
	case KA_REQUEST_IDT:
		return KVMBPF_REQUEST_IDT;
	default:
		return KVMBPF_REQUEST_READ;
	}
}

/* Tables are asked for in one piece: the kernel says if they are longer than it can serve. */
unsigned int inflight_parts(const struct inflight_request *filed)
{
	if (kernel_kind(&filed->request) != KVMBPF_REQUEST_READ)
		return 1;
	return (filed->request.len + KVMBPF_READ_MAX - 1) / KVMBPF_READ_MAX;
}

struct kvmbpf_request inflight_part(const struct inflight_request *filed, unsigned int index)
{
	const struct ka_request *request = &filed->request;
	struct kvmbpf_request part = {
		.id = filed->id,
		.deadline_ns = filed->deadline_ns,
		.offset = index * KVMBPF_READ_MAX,
		.kind = kernel_kind(request),
	};

	part.address = request->address + part.offset;
	if (part.kind == KVMBPF_REQUEST_READ && request->len - part.offset > KVMBPF_READ_MAX)
		part.len = KVMBPF_READ_MAX;
	else
		part.len = request->len - part.offset;
	if (request->paging)
		part.paging = paging_state(request->paging);
	return part;
}

static void finish(struct inflight_request *filed, int error)
{
	filed->state = INFLIGHT_FINISHED;
	filed->error = error;
}

static bool has_registers(uint32_t kind)
{
	return kind >= KVMBPF_REQUEST_REGISTERS;
}

/* Bytes that follow the result, if it is one of what was asked for. */
static int check_payload(const struct inflight_request *filed, const struct kvmbpf_result *result,
			 size_t size)
{
	struct kvmbpf_request part = inflight_part(filed, result->offset / KVMBPF_READ_MAX);
	size_t expected = sizeof(*result) + result->len;

	if (result->kind != part.kind || result->len > part.len)
		return -EPROTO;
	if (has_registers(part.kind))
		expected += sizeof(struct kvmbpf_vcpu);
	else if (result->len != part.len)
		return -EPROTO;
	return size < expected ? -EPROTO : 0;
}

static void take_payload(struct inflight_request *filed, const struct kvmbpf_result *result)
{
	const uint8_t *payload = (const uint8_t *)(result + 1);

	if (has_registers(result->kind)) {
		struct kvmbpf_vcpu state;

		memcpy(&state, payload, sizeof(state));
		registers_from_state(&state, &filed->result.registers);
		payload += sizeof(state);
	}
	if (result->len)
		memcpy((uint8_t *)filed->request.buf + result->offset, payload, result->len);
	filed->result.len += result->len;
}

static enum ka_served served_by(uint32_t source)
{
	return source == KVMBPF_SOURCE_EXIT ? KA_SERVED_VMEXIT : KA_SERVED_VCPU_LOAD;
}

static void take(struct inflight_request *filed, const struct kvmbpf_result *result, size_t size)
{
	uint32_t index = result->offset / KVMBPF_READ_MAX;

	if (filed->state != INFLIGHT_WAITS || result->offset % KVMBPF_READ_MAX ||
	    index >= inflight_parts(filed) || !(filed->missing & 1ULL << index))
		return;
	/* Nobody can say more than that by waiting for the guest. */
	if (result->error == -EAGAIN || result->error == -EXDEV ||
	    (!result->error && check_payload(filed, result, size))) {
		filed->state = INFLIGHT_UNSERVED;
		return;
	}
	if (result->error) {
		finish(filed, result->error);
		return;
	}
	take_payload(filed, result);
	filed->missing &= ~(1ULL << index);
	if (filed->missing)
		return;
	filed->result.id = filed->id;
	filed->result.served = served_by(result->source);
	filed->result.vcpu = result->vcpu_id;
	filed->result.time_ns = result->header.time_ns;
	finish(filed, 0);
}

void inflight_take(struct inflight *inflight, const struct kvmbpf_result *result, size_t size)
{
	struct inflight_request *filed;

	if (size < sizeof(*result) || result->header.type != KVMBPF_RECORD_RESULT)
		return;
	filed = inflight_find(inflight, result->id);
	if (filed)
		take(filed, result, size);
}
