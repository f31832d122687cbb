// SPDX-License-Identifier: LGPL-2.1-or-later
/* Gives up, for good, what loading BPF programs needs and watching does not. */
#include "privileges.h"

#include "cleanup.h"

#include <errno.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char default_user[] = "kvmbpf";

static int fail(char error[static PRIVILEGES_ERROR_MAX], int r, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(error, PRIVILEGES_ERROR_MAX, format, args);
	va_end(args);
	if (len >= 0 && len < PRIVILEGES_ERROR_MAX)
		snprintf(error + len, PRIVILEGES_ERROR_MAX - (size_t)len, ": %s", strerror(-r));
	return r;
}

/* ---- the user ------------------------------------------------------------------------------ */

static int user_become(const struct passwd *user, const char *const *owned, char *error)
{
	for (size_t i = 0; owned && owned[i]; i++)
		if (lchown(owned[i], user->pw_uid, user->pw_gid))
			return fail(error, -errno, "%s cannot be given to %s", owned[i],
				    user->pw_name);
	/* Permitted capabilities outlive the change of user; the rest of them goes right after. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || initgroups(user->pw_name, user->pw_gid) ||
	    setresgid(user->pw_gid, user->pw_gid, user->pw_gid) ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid))
		return fail(error, -errno, "cannot become %s", user->pw_name);
	return 0;
}

static int user_drop(const char *name, const char *const *owned, char *error)
{
	const struct passwd *user;

	errno = 0;
	user = getpwnam(name ? name : default_user);
	if (!user)
		return name ? fail(error, errno ? -errno : -ENOENT, "user %s", name) : 0;
	if (!geteuid())
		return user_become(user, owned, error);
	return name && geteuid() != user->pw_uid
		       ? fail(error, -EPERM, "only root becomes user %s", name)
		       : 0;
}

/* ---- capabilities -------------------------------------------------------------------------- */

/* Inheritable and ambient ones go as well: nothing that is run from here has any. */
static int capabilities_drop(void)
{
	static const unsigned int kept[] = {
		CAP_SYS_PTRACE,	     /* the memory, files and file tree of VMMs */
		CAP_DAC_READ_SEARCH, /* libvirt's word on who they are */
	};
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { 0 };

	for (size_t i = 0; i < array_size(kept); i++) {
		sets[CAP_TO_INDEX(kept[i])].effective |= CAP_TO_MASK(kept[i]);
		sets[CAP_TO_INDEX(kept[i])].permitted |= CAP_TO_MASK(kept[i]);
	}
	return syscall(SYS_capset, &header, sets) ? -errno : 0;
}

/* ---- system calls -------------------------------------------------------------------------- */

static const int allowed[] = {
	/* the process, its memory and threads */
	SCMP_SYS(brk),
	SCMP_SYS(mmap),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(mprotect),
	SCMP_SYS(madvise),
	SCMP_SYS(futex),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(tgkill),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(uname),
	SCMP_SYS(sysinfo),
	SCMP_SYS(getrandom),
	SCMP_SYS(umask),
	/* time and events */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(signalfd4),
	SCMP_SYS(eventfd2),
	SCMP_SYS(pipe2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(select),
	SCMP_SYS(pselect6),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	/* files */
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(openat2),
	SCMP_SYS(close),
	SCMP_SYS(read),
	SCMP_SYS(pread64),
	SCMP_SYS(readv),
	SCMP_SYS(write),
	SCMP_SYS(pwrite64),
	SCMP_SYS(writev),
	SCMP_SYS(lseek),
	SCMP_SYS(fcntl),
	SCMP_SYS(flock),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fstat),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(statfs),
	SCMP_SYS(fstatfs),
	SCMP_SYS(access),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getcwd),
	SCMP_SYS(getdents64),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(mkdir),
	SCMP_SYS(fchmod),
	SCMP_SYS(fchown),
	SCMP_SYS(dup),
	SCMP_SYS(dup3),
	SCMP_SYS(memfd_create),
	/* connections of sinks, also of the resolver */
	SCMP_SYS(socketpair),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(accept4),
	SCMP_SYS(connect),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(recvmmsg),
	/* VMs: read, not written */
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(pidfd_open),
	SCMP_SYS(pidfd_getfd),
};

/* Of the calls that can do much more, what the first argument may be. */
static const struct {
	int call;
	uint32_t first;
} allowed_with[] = {
	{ SCMP_SYS(bpf), BPF_MAP_LOOKUP_ELEM },
	{ SCMP_SYS(bpf), BPF_MAP_UPDATE_ELEM },
	{ SCMP_SYS(bpf), BPF_MAP_DELETE_ELEM },
	{ SCMP_SYS(bpf), BPF_LINK_CREATE }, /* of programs that are loaded: a VM's iterator */
	{ SCMP_SYS(bpf), BPF_ITER_CREATE },
	{ SCMP_SYS(bpf), BPF_PROG_TEST_RUN }, /* asks the kernel module */
	{ SCMP_SYS(bpf), BPF_OBJ_GET_INFO_BY_FD },
	{ SCMP_SYS(prctl), PR_SET_NAME },
	{ SCMP_SYS(socket), AF_UNIX },
	{ SCMP_SYS(socket), AF_INET },
	{ SCMP_SYS(socket), AF_INET6 },
	{ SCMP_SYS(socket), AF_NETLINK },
};

static const uint32_t allowed_ioctls[] = { TCGETS, FIONREAD, FIONBIO };

static struct scmp_arg_cmp argument_is(unsigned int index, uint32_t value)
{
	return (struct scmp_arg_cmp){ .arg = index, .op = SCMP_CMP_EQ, .datum_a = value };
}

static int rules_add(scmp_filter_ctx filter, bool may_write)
{
	int r = may_write ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(process_vm_writev), 0)
			  : 0;

	for (size_t i = 0; !r && i < array_size(allowed); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; !r && i < array_size(allowed_with); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_with[i].call, 1,
				     argument_is(0, allowed_with[i].first));
	for (size_t i = 0; !r && i < array_size(allowed_ioctls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     argument_is(1, allowed_ioctls[i]));
	/* Threads, but no processes. What clone3() is to do lies in memory: glibc takes clone(). */
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0_32(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

static int calls_drop(bool may_write)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = filter ? rules_add(filter, may_write) : -ENOMEM;

	if (!r)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

int privileges_drop(const char *user, const char *const *owned, bool may_write,
		    char ret_error[static PRIVILEGES_ERROR_MAX])
{
	int r = user_drop(user, owned, ret_error);

	if (r < 0)
		return r;
	r = capabilities_drop();
	if (r < 0)
		return fail(ret_error, r, "capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail(ret_error, -errno, "no_new_privs");
#ifdef __SANITIZE_ADDRESS__
	/* At its end LeakSanitizer stops all threads from a process of its own: tests ask for that. */
	if (getenv("KVMBPF_LEAKS"))
		return 0;
#endif
	r = calls_drop(may_write);
	return r < 0 ? fail(ret_error, r, "system calls") : 0;
}
