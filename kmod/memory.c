// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory, through memslots and the VMM's page tables.
 *
 * kvm->srcu is held from the look at a memslot until the bytes are copied, as KVM does itself: the
 * VMM learns that a memslot is gone only afterwards, so that what lies there is still the guest's.
 */
#include <linux/highmem.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "kvmbpf.h"

/* How bytes come from the VMM's memory: 0 or -errno. */
typedef int (*copy_func)(struct kvm *kvm, unsigned long hva, void *buf, u32 len);

struct reader {
	struct kvm *kvm;
	copy_func copy;
};

struct kvm_memory_slot *memory_slot(struct kvm_memslots *slots, gfn_t gfn)
{
	struct kvm_memory_slot *slot = __gfn_to_memslot(slots, gfn);

	return slot && !(slot->flags & KVM_MEMSLOT_INVALID) ? slot : NULL;
}

/* Faults pages in, but waits for no userfaultfd(2): the VMM could make us wait for ever. */
static int copy_faulting(struct kvm *kvm, unsigned long hva, void *buf, u32 len)
{
	struct page *page;
	void *mapped;
	long got;

	if (mmap_read_lock_killable(kvm->mm))
		return -EINTR;
	got = user_page_get(kvm->mm, hva, &page);
	mmap_read_unlock(kvm->mm);
	if (got != 1)
		return -ENXIO;
	mapped = kmap_local_page(page);
	memcpy(buf, mapped + offset_in_page(hva), len);
	kunmap_local(mapped);
	put_page(page);
	return 0;
}

static int copy_nofault(struct kvm *kvm, unsigned long hva, void *buf, u32 len)
{
	return copy_from_user_nofault(buf, (const void __user *)hva, len) ? -EAGAIN : 0;
}

/* Within a page. */
static int read_gpa(void *ctx, u64 gpa, void *buf, u32 len)
{
	struct reader *reader = ctx;
	struct kvm_memory_slot *slot = memory_slot(kvm_memslots(reader->kvm), gpa_to_gfn(gpa));

	if (!slot)
		return -ENXIO;
	return reader->copy(reader->kvm,
			    __gfn_to_hva_memslot(slot, gpa_to_gfn(gpa)) + offset_in_page(gpa), buf,
			    len);
}

int memory_read_frame(struct kvm *kvm, gfn_t gfn, void *ret_bytes)
{
	struct reader reader = { .kvm = kvm, .copy = copy_faulting };

	return read_gpa(&reader, gfn_to_gpa(gfn), ret_bytes, PAGE_SIZE);
}

static int translate(struct reader *reader, const struct kvmbpf_paging_state *paging, u64 gva,
		     u64 *ret_gpa)
{
	struct kvmbpf_walk walk;
	int err;

	if (paging->mode == KVMBPF_PAGING_OFF) {
		*ret_gpa = gva; /* wider than the guest could address */
		return 0;
	}
	err = kvmbpf_walk(paging, gva, read_gpa, reader, &walk);
	if (!err)
		*ret_gpa = walk.gpa;
	return err;
}

static u32 within_page(u64 address, u32 len)
{
	return min_t(u32, len, PAGE_SIZE - offset_in_page(address));
}

static int read_gva(struct reader *reader, const struct kvmbpf_paging_state *paging, u64 gva,
		    void *out, u32 len)
{
	u32 done, part;
	u64 gpa;
	int err;

	for (done = 0; done < len; done += part) {
		part = within_page(gva + done, len - done);
		err = translate(reader, paging, gva + done, &gpa);
		if (!err)
			err = read_gpa(reader, gpa, out + done, part);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Takes the arguments: the paging state may lie in a map that someone writes to meanwhile, so it is
 * copied before it is looked at.
 */
static int check_arguments(const struct kvmbpf_paging_state *paging, u64 gva, u32 len,
			   struct kvmbpf_paging_state *ret_paging)
{
	*ret_paging = *(const volatile struct kvmbpf_paging_state *)paging;
	if (!len || len > KVMBPF_READ_MAX || gva + (len - 1) < gva ||
	    ret_paging->mode > KVMBPF_PAGING_5LEVEL)
		return -EINVAL;
	return 0;
}

__bpf_kfunc int kvmbpf_gva_read(struct kvmbpf_vm_handle *vm,
				const struct kvmbpf_paging_state *paging, u64 gva, void *out,
				u32 out__sz)
{
	struct reader reader = { .copy = copy_faulting };
	struct kvmbpf_paging_state state;
	struct mm_struct *mm;
	int slots, err;

	err = check_arguments(paging, gva, out__sz, &state);
	if (err)
		return err;
	reader.kvm = vm_enter(vm);
	if (!reader.kvm)
		return -EOWNERDEAD;
	mm = reader.kvm->mm;
	err = -EOWNERDEAD;
	if (mmget_not_zero(mm)) {
		slots = srcu_read_lock(&reader.kvm->srcu);
		err = read_gva(&reader, &state, gva, out, out__sz);
		srcu_read_unlock(&reader.kvm->srcu, slots);
		mmput(mm);
	}
	vm_leave(vm);
	return err;
}

__bpf_kfunc int kvmbpf_gva_read_nofault(struct kvmbpf_vm_handle *vm,
					const struct kvmbpf_paging_state *paging, u64 gva,
					void *out, u32 out__sz)
{
	struct reader reader = { .copy = copy_nofault };
	struct kvmbpf_paging_state state;
	int slots, err;

	if (in_nmi()) /* where SRCU cannot be used */
		return -EAGAIN;
	err = check_arguments(paging, gva, out__sz, &state);
	if (err)
		return err;
	reader.kvm = vm_enter(vm);
	if (!reader.kvm)
		return -EOWNERDEAD;
	err = -EXDEV;
	if (current->mm == reader.kvm->mm) {
		slots = srcu_read_lock(&reader.kvm->srcu);
		err = read_gva(&reader, &state, gva, out, out__sz);
		srcu_read_unlock(&reader.kvm->srcu, slots);
	}
	vm_leave(vm);
	return err;
}

/* ---- writes ---- */

/* A page that is to be written. */
struct target {
	struct page *page;
	u32 offset;
};

static int target_pin(struct reader *reader, const struct kvmbpf_paging_state *paging, u64 gva,
		      struct target *ret_target)
{
	struct kvm_memory_slot *slot;
	struct page *page;
	long got;
	u64 gpa;
	int err;

	err = translate(reader, paging, gva, &gpa);
	if (err)
		return err;
	slot = memory_slot(kvm_memslots(reader->kvm), gpa_to_gfn(gpa));
	if (!slot)
		return -ENXIO;
	if (slot->flags & KVM_MEM_READONLY)
		return -EPERM;
	/* Outside modules cannot mark a page dirty. */
	if (kvm_slot_dirty_track_enabled(slot))
		return -EBUSY;
	if (mmap_read_lock_killable(reader->kvm->mm))
		return -EINTR;
	got = user_page_pin(reader->kvm->mm, __gfn_to_hva_memslot(slot, gpa_to_gfn(gpa)), &page);
	mmap_read_unlock(reader->kvm->mm);
	if (got != 1)
		return -ENXIO;
	ret_target->page = page;
	ret_target->offset = offset_in_page(gpa);
	return 0;
}

/* All pages first, so that a failure leaves the guest's memory as it was. */
static int write_gva(struct reader *reader, const struct kvmbpf_paging_state *paging, u64 gva,
		     const void *data, u32 len)
{
	struct target target[2]; /* KVMBPF_READ_MAX cannot touch more */
	unsigned int count, i;
	u32 done, part;
	int err = 0;

	for (done = 0, count = 0; done < len && !err; done += part) {
		part = within_page(gva + done, len - done);
		err = target_pin(reader, paging, gva + done, &target[count]);
		if (!err)
			count++;
	}
	for (i = 0, done = 0; i < count; i++, done += part) {
		part = min_t(u32, len - done, PAGE_SIZE - target[i].offset);
		if (!err)
			memcpy_to_page(target[i].page, target[i].offset, data + done, part);
		unpin_user_pages_dirty_lock(&target[i].page, 1, !err);
	}
	return err;
}

__bpf_kfunc int kvmbpf_gva_write(struct kvmbpf_vm_handle *vm,
				 const struct kvmbpf_paging_state *paging, u64 gva,
				 const void *data, u32 data__sz)
{
	struct reader reader = { .copy = copy_faulting };
	struct kvmbpf_paging_state state;
	struct mm_struct *mm;
	int slots, err;

	err = check_arguments(paging, gva, data__sz, &state);
	if (err)
		return err;
	reader.kvm = vm_enter(vm);
	if (!reader.kvm)
		return -EOWNERDEAD;
	mm = reader.kvm->mm;
	err = -EOWNERDEAD;
	if (mmget_not_zero(mm)) {
		slots = srcu_read_lock(&reader.kvm->srcu);
		err = write_gva(&reader, &state, gva, data, data__sz);
		srcu_read_unlock(&reader.kvm->srcu, slots);
		mmput(mm);
	}
	vm_leave(vm);
	return err;
}
