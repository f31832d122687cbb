// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Finds the files behind a VMM's memory, and maps them.
 *
 * A page of such a file can fail to be there: the VMM shrinks the file, the host's memory is
 * broken or at its limit. The process then gets SIGBUS; the handler puts zeros in place of the
 * window, marks it, and whoever was reading takes the other way.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "host.h"
#include "prefetch.h"
#include "window.h"

enum { PAGE_SIZE = 4096, FDS_MAX = 4096, MAPS_BUFFER = 32 << 10 };

#define CHECK_NS (60ULL * 1000 * 1000 * 1000)
/* Where nothing is shared, all that a look can find is a faster way. */
#define CHECK_NOTHING_NS (10 * CHECK_NS)

/* Memory of a file, as a process has it mapped. */
struct backing {
	uint64_t start, end;  /* in the process */
	uint64_t offset;      /* in the file */
	dev_t dev;
	ino_t inode;
};

struct window {
	const uint8_t *bytes;
	uint64_t hva, size;
	struct backing backing; /* of the window's part of it */
	volatile sig_atomic_t broken;
	uint64_t seen[];        /* a bit a page */
};

/* ---- SIGBUS --------------------------------------------------------------------------------- */

/* What this thread reads from now. Not allocated at its first use, which may be in the handler. */
static __thread struct window *volatile reading __attribute__((tls_model("initial-exec")));
static struct sigaction before;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool take_fault(struct window *window, uint64_t address)
{
	uint64_t start = (uint64_t)window->bytes;

	if (address < start || address >= start + window->size)
		return false;
	window->broken = 1;
	return mmap((void *)start, window->size, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
		    0) != MAP_FAILED;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	struct window *window = reading;
	int error = errno;

	if (window && take_fault(window, (uint64_t)info->si_addr)) {
		errno = error;
		return;
	}
	/* Not ours: as it would have been. */
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(number, info, context);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(number);
	} else {
		signal(SIGBUS, SIG_DFL);
		raise(SIGBUS);
	}
}

static void handler_install(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, &before);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool all_seen(const struct window *window, uint64_t offset, size_t len)
{
	for (uint64_t page = offset / PAGE_SIZE; page <= (offset + len - 1) / PAGE_SIZE; page++)
		if (!(window->seen[page / 64] >> page % 64 & 1))
			return false;
	return true;
}

/* The memslots may have been read again since. */
static struct window *window_of(const struct host_vm *vm, size_t slot)
{
	struct window *window = slot < vm->windows.count ? vm->windows.window[slot] : NULL;

	return window && window->hva == vm->memslots[slot].hva &&
			       window->size == vm->memslots[slot].size ?
		       window :
		       NULL;
}

void windows_begin(struct windows *windows)
{
	if (windows->reads)
		windows->reads->count = 0;
}

/* What stands there already, as it nearly always does, is not written again. */
static void note_read(struct window_reads *reads, const uint8_t *start, uint64_t len)
{
	if (!reads || reads->count >= WINDOW_READS)
		return;
	if (reads->read[reads->count].start != start || reads->read[reads->count].len != len) {
		reads->read[reads->count].start = start;
		reads->read[reads->count].len = len;
	}
	reads->count++;
}

void windows_prefetch(const struct windows *windows)
{
	const struct window_reads *reads = windows->reads;

	for (uint64_t i = 0; reads && i < reads->count && i < WINDOW_READS; i++)
		prefetch(reads->read[i].start,
			 reads->read[i].len < PAGE_SIZE ? reads->read[i].len : PAGE_SIZE);
}

int window_peek(const struct host_vm *vm, size_t slot, uint64_t offset, void *buf, size_t len)
{
	struct window *window = window_of(vm, slot);
	uint64_t word;

	if (!window || !len || !all_seen(window, offset, len))
		return -EREMOTE;
	note_read(vm->windows.reads, window->bytes + offset, len);
	reading = window;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	/* An entry of a page table whole, as the CPU reads it. */
	if (len == sizeof(word) && offset % sizeof(word) == 0) {
		word = *(const volatile uint64_t *)(window->bytes + offset);
		memcpy(buf, &word, sizeof(word));
	} else {
		memcpy(buf, window->bytes + offset, len);
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	reading = NULL;
	return window->broken ? -EREMOTE : 0;
}

void window_seen(const struct host_vm *vm, size_t slot, uint64_t offset, size_t len)
{
	struct window *window = window_of(vm, slot);

	if (!window || !len)
		return;
	for (uint64_t page = offset / PAGE_SIZE; page <= (offset + len - 1) / PAGE_SIZE; page++)
		window->seen[page / 64] |= 1ULL << page % 64;
}

/* ---- the file behind a memslot -------------------------------------------------------------- */

/* A line of /proc/PID/maps, if it is of a shared file. */
static bool parse_backing(const char *line, struct backing *ret_backing)
{
	uint64_t start, end, offset, inode;
	const char *rights = strchr(line, ' ');
	unsigned int dev_major, dev_minor;
	char shared;

	/* Nearly all are private, and need no parsing. */
	if (!rights || strlen(rights) < 5 || rights[4] != 's')
		return false;
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*c%*c%*c%c %" SCNx64 " %x:%x %" SCNu64, &start,
		   &end, &shared, &offset, &dev_major, &dev_minor, &inode) != 7 ||
	    shared != 's' || !inode)
		return false;
	*ret_backing = (struct backing){
		.start = start,
		.end = end,
		.offset = offset,
		.dev = makedev(dev_major, dev_minor),
		.inode = inode,
	};
	return true;
}

/* A VMM may have its memory in pieces that differ in their flags only. */
static bool goes_on(const struct backing *backing, const struct backing *next)
{
	return backing->end == next->start && backing->dev == next->dev &&
	       backing->inode == next->inode &&
	       backing->offset + (backing->end - backing->start) == next->offset;
}

static void give(const struct host_vm *vm, const struct backing *backing, struct backing *each)
{
	for (size_t i = 0; i < vm->memslot_count; i++) {
		uint64_t hva = vm->memslots[i].hva, size = vm->memslots[i].size;

		if (hva < backing->start || hva >= backing->end || size > backing->end - hva)
			continue;
		each[i] = *backing;
		each[i].offset += hva - backing->start;
		each[i].start = hva;
		each[i].end = hva + size;
	}
}

/* What is behind each memslot; all zero: nothing that is shared. */
static int find_backings(const struct host_vm *vm, struct backing *each)
{
	struct backing run = { 0 }, next;
	size_t size = 0;
	char path[32], *line = NULL;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", vm->info.pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	setvbuf(file, NULL, _IOFBF, MAPS_BUFFER);
	while (getline(&line, &size, file) > 0) {
		if (!parse_backing(line, &next))
			continue;
		if (goes_on(&run, &next)) {
			run.end = next.end;
			continue;
		}
		give(vm, &run, each);
		run = next;
	}
	give(vm, &run, each);
	free(line);
	fclose(file);
	return 0;
}

static bool is_memory(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
}

static bool is_file(const struct stat *stat, const struct backing *backing)
{
	return S_ISREG(stat->st_mode) && stat->st_dev == backing->dev &&
	       stat->st_ino == backing->inode;
}

/* The open files of a process, and the one that was wanted last, which most memslots share. */
struct files {
	DIR *fds;
	struct backing last;
	int last_fd; /* -1: it has no such file */
};

/* A descriptor of our own, for reading only, of a file that the process has open. */
static int find_file(DIR *fds, const struct backing *backing)
{
	struct dirent *entry;
	struct stat stat;

	rewinddir(fds);
	for (int i = 0; i < FDS_MAX && (entry = readdir(fds)); i++) {
		int fd;

		if (fstatat(dirfd(fds), entry->d_name, &stat, 0) || !is_file(&stat, backing))
			continue;
		fd = openat(dirfd(fds), entry->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		/* The process may have closed it, and opened another, meanwhile. */
		if (!fstat(fd, &stat) && is_file(&stat, backing) && is_memory(fd))
			return fd;
		close(fd);
	}
	return -1;
}

static void files_close(struct files *files)
{
	if (files->last_fd >= 0)
		close(files->last_fd);
	if (files->fds)
		closedir(files->fds);
}

static int files_open(struct files *files, pid_t pid, const struct backing *backing)
{
	char path[32];

	if (!files->fds) {
		snprintf(path, sizeof(path), "/proc/%d/fd", pid);
		files->fds = opendir(path);
	}
	if (!files->fds)
		return -1;
	if (files->last.dev != backing->dev || files->last.inode != backing->inode) {
		if (files->last_fd >= 0)
			close(files->last_fd);
		files->last = *backing;
		files->last_fd = find_file(files->fds, backing);
	}
	return files->last_fd;
}

/* ---- windows -------------------------------------------------------------------------------- */

static void window_free(struct window *window)
{
	if (!window)
		return;
	munmap((void *)window->bytes, window->size);
	free(window);
}

static struct window *window_new(int fd, const struct backing *backing)
{
	uint64_t size = backing->end - backing->start;
	struct window *window;
	void *bytes;

	if (fd < 0)
		return NULL;
	window = calloc(1, sizeof(*window) +
				   (size / PAGE_SIZE + 63) / 64 * sizeof(window->seen[0]));
	bytes = window ? mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd,
			      (off_t)backing->offset) :
			 MAP_FAILED;
	if (bytes == MAP_FAILED) {
		free(window);
		return NULL;
	}
	window->bytes = bytes;
	window->hva = backing->start;
	window->size = size;
	window->backing = *backing;
	return window;
}

/* One that is mapped already, and is as it should be. */
static struct window *take_known(struct windows *windows, const struct backing *backing)
{
	for (size_t i = 0; i < windows->count; i++) {
		struct window *window = windows->window[i];

		if (!window || window->broken ||
		    memcmp(&window->backing, backing, sizeof(*backing)))
			continue;
		windows->window[i] = NULL;
		return window;
	}
	return NULL;
}

static void fill(struct host_vm *vm, const struct backing *each, struct window **ret_windows)
{
	struct files files = { .last_fd = -1 };

	for (size_t i = 0; i < vm->memslot_count; i++) {
		if (!each[i].inode)
			continue;
		ret_windows[i] = take_known(&vm->windows, &each[i]);
		if (!ret_windows[i])
			ret_windows[i] =
				window_new(files_open(&files, vm->info.pid, &each[i]), &each[i]);
	}
	files_close(&files);
}

static bool any_window(const struct windows *windows)
{
	for (size_t i = 0; i < windows->count; i++)
		if (windows->window[i])
			return true;
	return false;
}

static void windows_renew(struct host_vm *vm)
{
	struct backing *each = calloc(vm->memslot_count, sizeof(*each));
	struct window **fresh = calloc(vm->memslot_count, sizeof(*fresh));
	size_t count = vm->memslot_count;

	if (each && fresh && !find_backings(vm, each)) {
		fill(vm, each, fresh);
	} else {
		free(fresh);
		fresh = NULL;
		count = 0;
	}
	windows_free(&vm->windows);
	vm->windows.window = fresh;
	vm->windows.count = count;
	if (any_window(&vm->windows))
		vm->windows.reads = calloc(1, sizeof(*vm->windows.reads));
	free(each);
}

static uint64_t check_ns(const struct host_vm *vm)
{
	return host_spread_ns(vm, any_window(&vm->windows) ? CHECK_NS : CHECK_NOTHING_NS);
}

void windows_refresh(struct host_vm *vm, uint64_t now_ns)
{
	struct windows *windows = &vm->windows;

	if (windows->generation == vm->generation && now_ns < windows->check_ns)
		return;
	pthread_once(&once, handler_install);
	windows_renew(vm);
	windows->generation = vm->generation;
	windows->check_ns = now_ns + check_ns(vm);
}

void windows_free(struct windows *windows)
{
	for (size_t i = 0; i < windows->count; i++)
		window_free(windows->window[i]);
	free(windows->window);
	free(windows->reads);
	*windows = (struct windows){ 0 };
}
