// SPDX-License-Identifier: LGPL-2.1-or-later
/* Requests in flight: ids, parts, and results in any order, twice, late or wrong. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "access/inflight.h"

enum { PART = KVMBPF_READ_MAX };

static struct inflight inflight;
static uint8_t buf[KA_REQUEST_LEN_MAX];
static const struct ka_vm *const vm_a = (void *)buf, *const vm_b = (void *)(buf + 1);

static void deinit(void)
{
	inflight_deinit(&inflight);
}

TestSuite(inflight, .fini = deinit);

static struct ka_request read_request(size_t len)
{
	return (struct ka_request){ .kind = KA_REQUEST_GPA, .vcpu = KA_ANY_VCPU, .address = 0x1000,
				    .buf = buf, .len = len };
}

static struct inflight_request *add(const struct ka_request *request)
{
	struct inflight_request *filed = NULL;

	cr_assert_eq(inflight_add(&inflight, vm_a, request, 0, &filed), 0);
	return filed;
}

/* A result with the most that can follow it. */
static struct {
	struct kvmbpf_result result;
	struct kvmbpf_vcpu state;
	uint8_t bytes[PART];
} answer;

/* What the kernel says of a part that it read: `len` bytes of `fill`. */
static size_t answer_part(const struct inflight_request *filed, unsigned int index, uint8_t fill)
{
	struct kvmbpf_request part = inflight_part(filed, index);
	uint8_t *payload = (uint8_t *)(&answer.result + 1);

	answer.result = (struct kvmbpf_result){
		.header = { .type = KVMBPF_RECORD_RESULT, .time_ns = 77 },
		.id = part.id,
		.offset = part.offset,
		.vcpu_id = 3,
		.len = part.len,
		.kind = part.kind,
		.source = KVMBPF_SOURCE_EXIT,
	};
	memset(payload, fill, part.len);
	return sizeof(answer.result) + part.len;
}

static void take(size_t size)
{
	inflight_take(&inflight, &answer.result, size);
}

/* ---- ids ---- */

Test(inflight, ids_rise_and_are_never_used_again)
{
	struct ka_request request = read_request(8);
	uint64_t last = 0;

	for (unsigned int i = 0; i < 3 * KA_REQUESTS_MAX; i++) {
		struct inflight_request *filed = add(&request);
		uint64_t id = filed->id;

		cr_assert_gt(id, last);
		cr_assert_eq(inflight_find(&inflight, id), filed);
		inflight_remove(&inflight, filed);
		cr_assert_null(inflight_find(&inflight, id));
		last = id;
	}
}

Test(inflight, number_is_bounded)
{
	struct ka_request request = read_request(8);
	struct inflight_request *filed = NULL, *one = NULL;
	uint64_t last = 0;

	cr_assert_null(inflight_find(&inflight, 1));
	for (unsigned int i = 0; i < KA_REQUESTS_MAX; i++) {
		filed = add(&request);
		cr_assert_gt(filed->id, last);
		last = filed->id;
		if (i == KA_REQUESTS_MAX / 2)
			one = filed;
	}
	cr_assert_eq(inflight_add(&inflight, vm_a, &request, 0, &filed), -ENOBUFS);
	inflight_remove(&inflight, one);
	cr_assert_gt(add(&request)->id, last);
	cr_assert_eq(inflight_add(&inflight, vm_a, &request, 0, &filed), -ENOBUFS);
}

Test(inflight, vm_takes_its_own_along)
{
	struct ka_request request = read_request(8);
	struct inflight_request *a = add(&request), *b = NULL;
	uint64_t id = a->id;

	cr_assert_eq(inflight_add(&inflight, vm_b, &request, 0, &b), 0);
	inflight_remove_vm(&inflight, vm_a);
	cr_assert_null(inflight_find(&inflight, id));
	cr_assert_eq(inflight_find(&inflight, b->id), b);
}

Test(inflight, deadline_is_from_now)
{
	struct ka_request request = read_request(8);
	struct inflight_request *filed = NULL;

	cr_assert_eq(add(&request)->deadline_ns, KA_DEADLINE_MS * 1000000ULL);
	request.deadline_ms = UINT32_MAX;
	cr_assert_eq(inflight_add(&inflight, vm_a, &request, 5, &filed), 0);
	cr_assert_eq(filed->deadline_ns, UINT32_MAX * 1000000ULL + 5);
}

/* ---- parts ---- */

Test(inflight, long_read_is_split)
{
	struct ka_request request = read_request(2 * PART + 10);
	struct inflight_request *filed = add(&request);

	cr_assert_eq(inflight_parts(filed), 3);
	for (unsigned int i = 0; i < 3; i++) {
		struct kvmbpf_request part = inflight_part(filed, i);

		cr_assert_eq(part.id, filed->id);
		cr_assert_eq(part.kind, KVMBPF_REQUEST_READ);
		cr_assert_eq(part.address, 0x1000u + i * PART);
		cr_assert_eq(part.offset, i * PART);
		cr_assert_eq(part.len, i < 2 ? PART : 10);
		cr_assert_eq(part.paging.mode, KVMBPF_PAGING_OFF);
	}
	request.len = KA_REQUEST_LEN_MAX;
	cr_assert_eq(inflight_parts(add(&request)), KA_REQUEST_LEN_MAX / PART);
}

Test(inflight, address_space_is_copied)
{
	struct ka_paging paging = { .root = 0x5000, .mode = KA_PAGING_PAE, .nx = 1 };
	struct ka_request request = read_request(8);
	struct kvmbpf_request part;

	request.kind = KA_REQUEST_GVA;
	request.paging = &paging;
	part = inflight_part(add(&request), 0);
	paging.root = 0;
	cr_assert_eq(part.kind, KVMBPF_REQUEST_READ);
	cr_assert_eq(part.paging.root, 0x5000);
	cr_assert_eq(part.paging.mode, KVMBPF_PAGING_PAE);
	request.paging = NULL;
	cr_assert_eq(inflight_part(add(&request), 0).kind, KVMBPF_REQUEST_READ_HERE);
}

/* ---- results ---- */

Test(inflight, parts_come_in_any_order)
{
	struct ka_request request = read_request(2 * PART + 10);
	struct inflight_request *filed = add(&request);

	take(answer_part(filed, 2, 'c'));
	take(answer_part(filed, 0, 'a'));
	cr_assert_eq(filed->state, INFLIGHT_WAITS);
	take(answer_part(filed, 1, 'b'));
	cr_assert_eq(filed->state, INFLIGHT_FINISHED);
	cr_assert_eq(filed->error, 0);
	cr_assert_eq(filed->result.id, filed->id);
	cr_assert_eq(filed->result.len, 2 * PART + 10);
	cr_assert_eq(filed->result.served, KA_SERVED_VMEXIT);
	cr_assert_eq(filed->result.vcpu, 3);
	cr_assert_eq(filed->result.time_ns, 77);
	cr_assert_eq(buf[0], 'a');
	cr_assert_eq(buf[PART], 'b');
	cr_assert_eq(buf[2 * PART + 9], 'c');
}

Test(inflight, part_counts_once)
{
	struct ka_request request = read_request(2 * PART);
	struct inflight_request *filed = add(&request);

	take(answer_part(filed, 0, 'a'));
	take(answer_part(filed, 0, 'x'));
	cr_assert_eq(filed->state, INFLIGHT_WAITS);
	cr_assert_eq(filed->result.len, PART);
	cr_assert_eq(buf[0], 'a');
}

Test(inflight, late_result_touches_nothing)
{
	struct ka_request request = read_request(8);
	struct inflight_request *filed = add(&request);
	size_t size = answer_part(filed, 0, 'x');

	inflight_remove(&inflight, filed);
	filed = add(&request);
	take(size);
	cr_assert_eq(filed->state, INFLIGHT_WAITS);
	cr_assert_eq(buf[0], 0);
	/* The library has served it meanwhile. */
	size = answer_part(filed, 0, 'x');
	filed->state = INFLIGHT_FINISHED;
	take(size);
	cr_assert_eq(buf[0], 0);
}

Test(inflight, error_of_a_part_ends_the_request)
{
	struct ka_request request = read_request(2 * PART);
	struct inflight_request *filed = add(&request);

	answer_part(filed, 1, 'x');
	answer.result.error = -EFAULT;
	take(sizeof(answer.result));
	cr_assert_eq(filed->state, INFLIGHT_FINISHED);
	cr_assert_eq(filed->error, -EFAULT);
	take(answer_part(filed, 0, 'x'));
	cr_assert_eq(filed->error, -EFAULT);
	cr_assert_eq(buf[0], 0);
}

Test(inflight, what_no_vcpu_can_read_is_left_to_the_library)
{
	static const int errors[] = { -EAGAIN, -EXDEV };
	struct ka_request request = read_request(8);

	for (unsigned int i = 0; i < 2; i++) {
		struct inflight_request *filed = add(&request);

		answer_part(filed, 0, 'x');
		answer.result.error = errors[i];
		take(sizeof(answer.result));
		cr_assert_eq(filed->state, INFLIGHT_UNSERVED);
	}
}

/* Not what was asked for: rather read it again than believe it. */
Test(inflight, wrong_result_is_not_believed)
{
	struct ka_request request = read_request(100);
	struct inflight_request *filed;

	filed = add(&request);
	take(answer_part(filed, 0, 'x') - 1);
	cr_assert_eq(filed->state, INFLIGHT_UNSERVED);
	filed = add(&request);
	answer_part(filed, 0, 'x');
	answer.result.len = 101;
	take(sizeof(answer));
	cr_assert_eq(filed->state, INFLIGHT_UNSERVED);
	filed = add(&request);
	answer_part(filed, 0, 'x');
	answer.result.kind = KVMBPF_REQUEST_IDT;
	take(sizeof(answer));
	cr_assert_eq(filed->state, INFLIGHT_UNSERVED);
	cr_assert_eq(buf[0], 0);
	/* Of no part, of no request, of another kind of record: as if it had not come. */
	filed = add(&request);
	answer_part(filed, 0, 'x');
	answer.result.offset = 64u * PART;
	take(sizeof(answer));
	answer.result.offset = 1;
	take(sizeof(answer));
	answer.result.offset = 0;
	take(sizeof(answer.result) - 1);
	answer.result.header.type = KVMBPF_RECORD_SNAPSHOT;
	take(sizeof(answer));
	cr_assert_eq(filed->state, INFLIGHT_WAITS);
}

Test(inflight, table_comes_with_registers)
{
	struct ka_request request = read_request(PART);
	struct inflight_request *filed;

	request.kind = KA_REQUEST_GDT;
	filed = add(&request);
	cr_assert_eq(inflight_parts(filed), 1);
	answer_part(filed, 0, 0);
	answer.result.len = 16;
	answer.result.source = KVMBPF_SOURCE_ENTRY;
	answer.state = (struct kvmbpf_vcpu){ .vcpu_id = 3, .gdtr = { .base = 0xabc, .limit = 15 } };
	memset(answer.bytes, 'g', 16);
	take(sizeof(answer.result) + sizeof(answer.state) + 16);
	cr_assert_eq(filed->state, INFLIGHT_FINISHED);
	cr_assert_eq(filed->result.served, KA_SERVED_VCPU_LOAD);
	cr_assert_eq(filed->result.len, 16);
	cr_assert_eq(filed->result.registers.vcpu, 3);
	cr_assert_eq(filed->result.registers.gdtr.base, 0xabc);
	cr_assert_eq(buf[15], 'g');
	cr_assert_eq(buf[16], 0);
}
