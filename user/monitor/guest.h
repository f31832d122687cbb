/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A watched VM: its kernel, its vCPUs, what is expected of them, and what is not as expected. */
#ifndef MONITOR_GUEST_H
#define MONITOR_GUEST_H

#include "audit.h"
#include "check_registers.h"
#include "content.h"
#include "event.h"
#include "finding.h"
#include "guest_modules.h"
#include "fold.h"
#include "policy.h"
#include "reference.h"
#include "store.h"
#include "text_pass.h"
#include "view.h"

#include <kvmaccess.h>

struct actions;

/* What all guests of this monitor share. */
struct watch {
	struct event_stream *stream;
	struct store *store;
	const struct config *config;   /* may be NULL */
	struct actions *actions;       /* of policies; NULL: none */
	struct kept *kept;	       /* findings of the monitor before; NULL: none */
	struct references *references; /* of the store; NULL: none are used */
	const struct ka_symbols *const *symbols;
	size_t symbols_count;
	bool push_exact;	     /* each change of a watched register is pushed */
	const char *push_reason;     /* why not */
	bool realtime;		     /* writes are told as they happen */
	const char *realtime_reason; /* why not; another string whenever it changes */
	bool realtime_text;	     /* those to the code of system calls, too */
	bool protect[CHECKS];	     /* and undone */
	uint64_t interval_ns;
	/* Of one CPU's time, in millionths, for all audits of each guest. */
	uint64_t audit_ppm;
	struct first_looks *first_looks; /* of all guests; NULL: each takes the time it needs */
};

/* Time that first looks at guests' text have taken in an interval. */
struct first_looks {
	uint64_t since_ns, spent_ns;
};

enum { FRAME_BYTES = 4096 };

enum { SYSCALL_TABLES = 2, TRACKED_RANGES_MAX = 64, TRACKED_CODE_MAX = 24 };

enum vcpu_phase {
	VCPU_NEW,      /* no baseline of it yet */
	VCPU_SETTLING, /* was taken down or put to another mode, and comes up again */
	VCPU_JUDGED,
};

/* What each cycle needs comes first: see guest_prefetch(). */
struct guest_vcpu {
	unsigned int id;
	enum vcpu_phase phase;
	unsigned int still; /* reads in a row that found the same */
	int usable;	    /* 0 or -errno: ka_registers_usable() */
	uint32_t held_changed; /* enum ka_changed; 0: none is held */
	bool present;	    /* in the last read of the registers */
	bool long_mode;
	bool idt_shared; /* expected to be the same frames as the first vCPU's */
	bool msrs_known; /* `expected` has them */
	bool push_missed; /* a pushed change since the last cycle was not judged */
	struct ka_registers registers;
	struct ka_paging paging;
	struct view gdt_expected, gdt_accepted, gdt;
	struct view idt_expected, idt;
	struct view table[SYSCALL_TABLES]; /* its place through this vCPU's page tables */
	struct register_values expected;
	struct coverage coverage[VCPU_CHECKS];
	/* Pushed with a table below the kernel's half; judged unless a reset follows. */
	struct ka_registers held;
	uint64_t held_since_ns;
};

/* Does this host tell where its GDT is, and what of its IDT's place is not Linux's custom? */
static inline bool vcpu_tables_known(const struct guest_vcpu *vcpu)
{
	return !(vcpu->registers.flags & KA_REGISTERS_NO_VMCS);
}

/*
 * Is CR0.WP not to be relied on? Where the guest owns it and the VMCS is not read, it is there at times
 * only: while KVM, which read it for itself, has not yet forgotten it.
 */
static inline bool vcpu_hides_wp(const struct guest_vcpu *vcpu)
{
	const uint32_t by_chance = KA_REGISTERS_NO_VMCS | KA_REGISTERS_WP_SAMPLED;

	return vcpu->registers.flags & KA_REGISTERS_NO_WP ||
	       (vcpu->registers.flags & by_chance) == by_chance;
}

/* Is it a check of something that this host never tells of the vCPU, or by chance? */
static inline bool vcpu_hides(const struct guest_vcpu *vcpu, enum check_id check)
{
	return (check == CHECK_GDT && !vcpu_tables_known(vcpu)) ||
	       (check == CHECK_MSR && vcpu->registers.flags & KA_REGISTERS_NO_MSRS) ||
	       (check == CHECK_CR0_WP && vcpu_hides_wp(vcpu));
}

/* 0, or why a table of it could not be read; one that is never read on this host is no reason. */
static inline int vcpu_error(const struct guest_vcpu *vcpu)
{
	return vcpu_tables_known(vcpu) && vcpu->gdt.error ? vcpu->gdt.error : vcpu->idt.error;
}

enum guest_phase { GUEST_WAITING, GUEST_WATCHED };

/* How long the objects must have stood still before they are a baseline. */
enum kernel_certainty {
	KERNEL_RUNNING,	 /* system_state says so */
	KERNEL_LIKELY,	 /* no symbols, but it looks like one that is up */
	KERNEL_UNLIKELY, /* nothing speaks for a kernel that we know */
	KERNEL_BOOTING,	 /* system_state says not yet */
};

struct guest_table {
	bool known;
	struct ka_syscall_table where;
	struct view expected, observed;
};

enum tracking_state { TRACKING_OFF, TRACKING_ON, TRACKING_PROTECTED };

/* Whether writes to a check's tables are told as they happen, or undone. */
struct tracking {
	enum tracking_state state, reported;
	char reason[112];
	uint64_t hot_until_ns; /* not tracked before; CLOCK_MONOTONIC */
};

/* Memory whose writes are tracked now. */
struct tracked_range {
	uint64_t gpa;
	uint32_t len;
	enum check_id check;
	bool protect;
};

enum { TEXT_DIFFERENCES_MAX = 32 };

/* One in the text that no record explains, where the kernel may be patching. */
struct text_breakpoint {
	uint64_t address, since_ns;
};

/* The part of the kernel's text that is at hand. All addresses are link-time. */
/* The text of a kernel that there is no reference of, as it is at first sight. */
struct text_taking {
	uint8_t *bytes;	      /* up to `next`; NULL: not begun, or they are the text's */
	uint64_t next, start; /* GVAs */
	uint64_t len;	      /* of those that are kept, also as the text's */
	unsigned int tries;
	const char *reason;   /* why it is not taken yet, or as far as is known never will be */
	uint64_t again_ns;    /* not before; CLOCK_MONOTONIC; UINT64_MAX: it cannot be taken */
	struct ka_text *text; /* owned; NULL: not yet */
};

struct guest_text {
	const struct ka_text *text; /* NULL: no reference of this build, and none taken */
	struct text_taking taking;
	size_t piece;		    /* in the reader; SIZE_MAX: not read */
	int error;
	size_t count;
	uint64_t start, end; /* of the whole text */
	uint64_t from, to;   /* of the part */
	uint64_t address;    /* where what is read of it begins */
	uint32_t len;
	uint64_t cycle; /* in which the part was chosen */
	uint64_t first; /* where the first look goes on; `end`: it is done */
	bool by_write;	/* it was looked at because it was written */
	struct text_pass pass;
	struct ka_text_boot boot;
	struct ka_tracing_layout *tracing;
	bool tracing_tried;
	size_t breakpoint_count;
	struct ka_text_difference differences[TEXT_DIFFERENCES_MAX];
	struct text_breakpoint breakpoints[TEXT_DIFFERENCES_MAX];
};

enum { TEXT_RUNS_MAX = 16 };

struct text_run {
	uint64_t gva, gpa, len;
};

/* The frames of the kernel's text whose writes are told. */
struct text_tracking {
	const struct ka_text *text; /* whose, in which boot; NULL: none are */
	uint64_t slide;
	unsigned int generation;
	size_t runs;
	struct text_run run[TEXT_RUNS_MAX];
	uint64_t next;	       /* GVA of the next frame to be tracked */
	uint64_t hot_until_ns; /* some were given up, and are tried again then; 0: none */
};

/* An audit of this guest's kernel, in this boot. */
struct guest_audit {
	bool ready; /* `state` is what its prepare() gave */
	void *state;
	struct coverage coverage;
	/* CLOCK_MONOTONIC; of the next look, of the first good one and the last */
	uint64_t next_ns, first_ns, looked_ns;
	uint64_t cycle;		     /* of the last look */
};

struct guest_audits {
	bool prepared;
	struct guest_audit audit[AUDITS];
	int64_t budget_ns; /* of CPU time; a look may overdraw it, and the next one waits */
	uint64_t earned_ns, random;
	/* Frames that code of system calls lies in, once a boot. */
	struct tracked_range code[TRACKED_CODE_MAX];
	size_t code_count;
	bool code_known, code_written; /* written: since the last look */
};

/* What the next looks are spared as long as nothing changes. */
struct guest_seal {
	bool is;	    /* there is one */
	bool rested;	    /* the last look found it intact */
	unsigned int looks; /* that found it intact and are not settled */
	unsigned int wait;  /* cycles without one after one that did not last */
	uint64_t since, next; /* cycles: when it was made, and not before when again */
	uint64_t whole;	      /* cycle of the last whole look */
	uint64_t whole_ns;    /* when that began; CLOCK_REALTIME */
};

/* What each cycle of a quiet guest needs comes first: see guest_prefetch(). */
struct guest {
	const struct watch *watch;
	struct ka_vm *vm;
	uint64_t next_ns; /* not before that again, where its policy has a longer interval */
	struct guest_seal seal;
	enum guest_phase phase;
	bool reset_seen; /* its first vCPU left paging: another boot will come */
	bool going_down; /* the kernel has emptied its IDTR, as it does before a reboot or kexec */
	bool check_now; /* something pushed asks for a look */
	bool complete, blind; /* guest_complete() and guest_blind() as of the last cycle */
	bool kernel_found;    /* `kernel` is filled; its symbols may still be NULL */
	bool symbols_compared; /* the guest's own with those of a file or reference, in this boot */
	bool writes_first;     /* a poll that differs waits for what is told of writes */
	uint64_t cycles;
	uint64_t judged;  /* cycles with a baseline */
	uint64_t soon_ns; /* a look before its next turn: its baseline is due; 0: none */
	uint64_t emptied_ns; /* when it last was seen to; 0: not, or all is as before again */
	uint64_t cycle_us;   /* what the last cycle took */
	/* When it was last looked at, and when every check was seen; CLOCK_REALTIME, 0: never. */
	uint64_t looked_ns, complete_ns;
	uint64_t changes_lost; /* pushes lost since the last cycle */
	bool changes_missed;   /* some before the last whole look were, or could not be judged */
	const char *untracked; /* why nothing is tracked, as it was settled last; NULL: it was not */
	struct guest_vcpu *vcpus;
	size_t vcpu_count;
	struct ka_registers *registers;
	size_t registers_max;
	struct reader reader;
	size_t scanned; /* of its pieces are those of the last scan, apart from text; 0: not of all */
	struct finding_table findings;
	struct fold_table folds;
	size_t range_count;
	uint8_t outside_text[KA_IDT_MAX / 8]; /* gates that led outside of the text all along */
	struct policy policy;
	struct guest_table table[SYSCALL_TABLES];
	struct ka_kernel kernel;
	struct guest_text text;

	const char *table_reason; /* why there is none */
	bool boots_before; /* this run has recorded a boot of it */
	bool same_boot; /* the baseline is made anew for the same boot: its kernel was found late */
	bool unannounced; /* another kernel is there, and neither a reset nor an emptied table was
			   */
	bool tracks; /* has the right to track its writes */
	unsigned int generation;
	struct ka_vm_info info;
	char id[TEXT_UUID_MAX];
	uint64_t appeared_mono_ns;

	int kernel_error;		    /* of the last search */
	uint64_t kernel_lstar, kernel_idtr; /* at the last search */
	struct ka_symbols *own_symbols;	    /* from its memory, where no file fits */
	struct guest_modules modules;
	struct guest_audits audits;
	const struct ka_reference *reference; /* of its build; `kernel` has its symbols */
	const char *no_reference; /* why, where others have one; NULL: it has, or none is known */
	enum severity no_reference_severity;
	unsigned int searches;	/* of its memory, in vain, in this boot */
	uint64_t search_cycle;	/* not before this one again */
	uint64_t late_cycle;	/* nor before this one for a kernel that was not found in time */
	unsigned int still;
	uint64_t still_since_ns; /* CLOCK_MONOTONIC */

	char baseline_id[33], baseline_digest[CONTENT_DIGEST_MAX], baseline_recorded_at[32];
	char baseline_trust[16], baseline_trigger[16], boot_id[33];
	unsigned int baseline_objects;
	uint64_t recorded_mono_ns;

	struct tracked_range ranges[TRACKED_RANGES_MAX];
	struct tracking tracking[CHECKS];
	struct text_tracking text_tracking;
	uint64_t writes_lost;  /* not judged: told to nobody */
	unsigned int pushes;   /* that were judged, since pushes_since_ns */
	uint64_t pushes_since_ns;
	unsigned int code_looks; /* that writes to code asked for, since then */
	uint64_t code_writes_since_ns;
	unsigned int soon_looks; /* asked for, since the last baseline */
	unsigned int restores;	 /* since restores_since_ns */
	uint64_t restores_since_ns; /* CLOCK_MONOTONIC */
};

/* Takes the VM over, also on failure. */
int guest_new(const struct watch *watch, struct ka_vm *vm, struct guest **ret_guest);
void guest_free(struct guest *guest);
/* Reads its labels anew, by which policies may go. */
void guest_relabel(struct guest *guest);
/* Takes its policy from watch->config anew. */
void guest_configure(struct guest *guest);

/* How many turns before its own: what is pointed at must be there first. */
enum guest_ahead { AHEAD_BYTES = 1, AHEAD_VCPUS, AHEAD_GUEST };
/*
 * Has the CPU fetch what the next cycle needs: of many guests, none is in a cache any more. `rests`: its
 * seal is intact.
 */
void guest_prefetch(const struct guest *guest, enum guest_ahead ahead, bool rests);
/* What is known of its seal at this moment, if it has one. */
enum seal_state { SEAL_UNKNOWN, SEAL_INTACT, SEAL_BROKEN };
/*
 * One look: at everything, or with a seal that is intact at what that does not hold. -EOWNERDEAD: the
 * VM is gone. Other failures are states of checks.
 */
int guest_cycle(struct guest *guest, enum seal_state seal);
/* A pushed change of registers. Sets check_now if a cycle should follow at once. */
void guest_push(struct guest *guest, const struct ka_registers *registers, uint32_t changed);

/* A tracked write; guest_tell_writes() tells what is due, and guest->folds when that is. */
void guest_write(struct guest *guest, const struct ka_write *write);
void guest_tell_writes(struct guest *guest, uint64_t now_ns);
/* Tracking of a frame (UINT64_MAX: of all) has ended by itself. */
void guest_tracking_stopped(struct guest *guest, uint64_t gpa, enum ka_stop_reason reason);
void guest_writes_lost(struct guest *guest, uint64_t count);

/* Has each check that can look looked once? */
bool guest_settled(const struct guest *guest);
/* A policy's interval counts where it is longer than the monitor's. */
static inline uint64_t guest_interval_ns(const struct guest *guest)
{
	return guest->policy.interval_ns > guest->watch->interval_ns ? guest->policy.interval_ns
								     : guest->watch->interval_ns;
}

/* Is every check of every vCPU seen? Is none? */
bool guest_complete(const struct guest *guest);
bool guest_blind(const struct guest *guest);

/* ---- parts, for the files of this noun ---- */

/* guest_scan.c: reads. */
int guest_scan_registers(struct guest *guest);
int guest_scan(struct guest *guest);
const char *scan_reason(int error);
extern const char scan_no_vmcs[];

/* guest_record.c: baselines. */
void guest_record(struct guest *guest);
void guest_record_vcpu(struct guest *guest, struct guest_vcpu *vcpu);
void guest_wait_for_boot(struct guest *guest);
/* Forgets the kernel that was found with a reference. */
void guest_reference_drop(struct guest *guest);
/* Are there symbols for it now, in a file or in its memory? */
bool guest_kernel_found(struct guest *guest);
/* Has another kernel taken over (kexec, a reset that no poll saw)? */
bool guest_kernel_replaced(struct guest *guest);
/* Is a boot that looks the same the same? Without KASLR a reboot looks like it, and may place
 * per-CPU data elsewhere. */
bool guest_boot_is_certain(const struct guest *guest);
/* Reads in a row and time that are needed. */
bool record_is_due(enum kernel_certainty certainty, unsigned int still, uint64_t still_ns);

/* guest_registers.c: MSRs, control and debug registers. */
/* Takes what is expected of a vCPU's from what they are now. */
void guest_registers_expect(struct guest *guest, struct guest_vcpu *vcpu);
int guest_registers_save(struct guest *guest, const struct guest_vcpu *vcpu);
void guest_registers_restore(struct guest *guest, struct guest_vcpu *vcpu);
bool guest_registers_differ(const struct guest *guest, const struct guest_vcpu *vcpu);
/* Is there something to judge in what was pushed? */
bool guest_registers_pushed(const struct guest_vcpu *vcpu, uint32_t changed);

/* guest_seal.c: what need not be looked at again. */
/* After a look that judged, which began at this CLOCK_REALTIME: seals what it saw, if all is in order. */
void guest_seal(struct guest *guest, enum seal_state seal, uint64_t begin_real_ns);
/* Something is to be found out, or has changed: the next look is a whole one. */
void guest_unseal(struct guest *guest);
/* Will a look at what no seal holds do? Looks at the text. */
bool guest_may_rest(struct guest *guest);
/*
 * Of so many looks one is whole, whatever a seal says: a change could by chance have the hash of what it
 * replaced. How many are left until then; guests that are looked at together have it together.
 */
enum { GUEST_WHOLE_EACH = 60 };
static inline unsigned int guest_looks_left(const struct guest *guest)
{
	const uint64_t since = guest->cycles - guest->seal.whole;

	return since < GUEST_WHOLE_EACH - 1 ? GUEST_WHOLE_EACH - 1 - (unsigned int)since : 0;
}
/* Is the next look a whole one although its seal may be intact? */
static inline bool guest_whole_is_due(const struct guest *guest)
{
	return guest->seal.is && !guest_looks_left(guest);
}
/* Looks that found the seal intact. */
void guest_rest(struct guest *guest, unsigned int looks);
/* For how many looks all that there is to see is under its seal, so that a sentry can make them. */
unsigned int guest_may_be_left(const struct guest *guest);
/* Is nothing looked at but what a seal holds? */
bool guest_is_all_sealed(const struct guest *guest);
/* Counts those looks among the others of each check: before somebody reads them. */
void guest_settle(struct guest *guest);

/* guest_track.c: tracks what should be, now. */
void guest_track(struct guest *guest);

/* tracking.c: what can be tracked. */
enum { TRACKED_CHECKS = 4 };
/*
 * The checks whose tables no kernel writes once it is up, and those of code, which it seldom patches. The
 * whole text has its frames tracked apart from the others' ranges: guest_track_text.c.
 */
extern const enum check_id tracked_checks[TRACKED_CHECKS];
bool check_is_tracked(enum check_id check);
const char *tracking_name(enum tracking_state state);

/* guest_text.c: the kernel's text. */
/* Takes the text of the reference, if there is one, for a new baseline. */
void guest_text_prepare(struct guest *guest);
/* May first looks go on in this interval? They are those of all guests together. */
bool guest_first_looks_allowed(const struct watch *watch, uint64_t now);
void guest_first_look_took(const struct watch *watch, uint64_t ns);
/* Looks at all of it, or at as much as the interval allows; goes on with each call. */
void guest_text_first(struct guest *guest);
void guest_text_drop(struct guest *guest);
/* Finds where the guest's kernel records what it does, with its types at hand. */
void guest_text_prepare_with(struct guest *guest, const struct ka_types *types);
/* Makes this the text that is looked at. False: no memory. */
bool guest_text_is(struct guest *guest, const struct ka_text *text);
/* What the kernel has recorded of its own doing; NULL: it does not tell. The caller's. */
struct ka_tracing *guest_text_tracing(struct guest *guest);
/* guest_text_take.c: takes the text at first sight, as far as the other guests' cycles allow. */
void guest_text_take(struct guest *guest);
/* Takes it anew: it was not the same when it was looked at again. */
void guest_text_retake(struct guest *guest);
void guest_text_take_drop(struct guest *guest);
/* It was taken, and is not known to have been at rest. */
static inline bool guest_text_unsettled(const struct guest *guest)
{
	return guest->text.taking.text && guest->text.first < guest->text.end;
}

/* There is one to compare with, or there should be: it could not be taken so far. */
static inline bool guest_text_is_known(const struct guest *guest)
{
	const struct text_taking *taking = &guest->text.taking;

	return (guest->text.text && !guest_text_unsettled(guest)) ||
	       (taking->again_ns && taking->again_ns != UINT64_MAX);
}
/* Is it not seen as often as it should be? Then one more part, outside of the scan. */
bool guest_text_behind(const struct guest *guest);
/* The part that is due in this cycle, outside of the scan. */
int guest_text_part(struct guest *guest);
int guest_text_more(struct guest *guest);
/* Its parts that hold these bytes, at a link-time address, are to be looked at once they settled. */
void guest_text_wrote(struct guest *guest, uint64_t address, uint32_t len);
/* Asks for a look before its next turn, where a part is due by then. */
void guest_text_soon(struct guest *guest);
/* A part of it, among what a scan reads. */
void guest_text_add(struct guest *guest);
void guest_text_collect(struct guest *guest);

/* guest_track_text.c: writes to its frames, with the right to track, once its first look is done. */
/* Goes on, for a bounded number of frames. 1: all are tracked; 0: not yet; or -errno. */
int guest_text_track(struct guest *guest);
void guest_text_untrack(struct guest *guest);
/* They are tracked no more. */
void guest_text_forget(struct guest *guest);
/* Something was lost: tracks again what may have been given up, and has all of it looked at. */
void guest_text_retrack(struct guest *guest);
bool guest_text_is_tracked(struct guest *guest, uint64_t gpa);
/* A frame was given up as written too often. */
void guest_text_hot(struct guest *guest);
void guest_text_written(struct guest *guest, const struct ka_write *write);

/* guest_audit.c: its kernel's own records. */
/* Makes those audits that are due, as far as the budget goes. */
void guest_audit(struct guest *guest);
void guest_audits_drop(struct guest *guest);
/* The frames of code that a write to deserves a look at once. */
const struct tracked_range *guest_code_frames(struct guest *guest, size_t *ret_count);
/* Does one wait for its first look? */
bool guest_audits_wait(const struct guest *guest);
/* Is each audit seen that is made of this guest? */
bool guest_audits_complete(const struct guest *guest);

/* How well a check is seen; `vcpu` is looked at for those that are of each vCPU. */
static inline const struct coverage *
guest_coverage(const struct guest *guest, const struct guest_vcpu *vcpu, enum check_id check)
{
	return check < VCPU_CHECKS ? &vcpu->coverage[check]
				   : &guest->audits.audit[check - VCPU_CHECKS].coverage;
}

static inline struct coverage *guest_coverage_mutable(struct guest *guest, struct guest_vcpu *vcpu,
						      enum check_id check)
{
	return (struct coverage *)guest_coverage(guest, vcpu, check);
}

/* Is this check made of this guest? Kernel text is, where there is a reference, or it can be taken at
 * first sight; its symbols are, where they are known from elsewhere; audits are, once its kernel's symbols are known. */
static inline bool guest_has_check(const struct guest *guest, int check)
{
	if (check == CHECK_SYMBOLS)
		return guest->symbols_compared;
	if (check == CHECK_MODULE_TEXT)
		return references_have_modules(guest->watch->references, guest->reference) ||
		       (guest->text.taking.text && !guest_text_unsettled(guest));
	if (check >= VCPU_CHECKS)
		return guest->kernel.symbols;
	return check != CHECK_TEXT || guest_text_is_known(guest);
}

/* All checks that are made of it, of each vCPU and as a whole. Begin with *at 0; false: no more. */
static inline bool guest_coverage_next(const struct guest *guest, size_t *at,
				       const struct coverage **ret_coverage,
				       enum check_id *ret_check)
{
	const size_t of_vcpus = guest->vcpu_count * VCPU_CHECKS;

	while (*at < of_vcpus + AUDITS) {
		const size_t i = (*at)++;
		const bool vcpu = i < of_vcpus;
		const enum check_id check =
			(enum check_id)(vcpu ? i % VCPU_CHECKS : VCPU_CHECKS + i - of_vcpus);

		if (!guest_has_check(guest, check))
			continue;
		*ret_coverage =
			guest_coverage(guest, vcpu ? &guest->vcpus[i / VCPU_CHECKS] : NULL, check);
		*ret_check = check;
		return true;
	}
	return false;
}

/* guest_judge.c: comparisons. */
/* No check of its vCPUs is made now; what cannot be made on this host at any time stays so. */
void guest_cover_vcpus(struct guest *guest, enum coverage_state state, const char *reason,
		       uint64_t real_ns);
/* Of the part of the text that was read outside of a cycle. */
void guest_judge_text(struct guest *guest);
/* What an audit found, of which there may be none. */
void guest_judge_audit(struct guest *guest, enum check_id check,
		       const struct difference *differences, size_t count, const char *detected_by);
/* Once a boot: does the guest say the same about its symbols as the file or reference? */
void guest_judge_symbols(struct guest *guest);
/* The states of both, once they were looked at for the first time. */
void guest_cover_first(struct guest *guest);
/* The text is looked at from now on: what it was before is no cycle of this check. */
void guest_cover_text(struct guest *guest);
bool guest_differs(const struct guest *guest);
void guest_judge(struct guest *guest);
void guest_judge_pushed(struct guest *guest, struct guest_vcpu *vcpu, uint32_t changed);
void guest_close_findings(struct guest *guest, const char *restored_to);

#endif
