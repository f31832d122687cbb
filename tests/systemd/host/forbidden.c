// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Try what the unit's protections forbid, one after the other, and say how each try ends:
 * "PROTECTION allowed" or "PROTECTION refused: why". Root without the unit is allowed all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OWN_FILE "/var/lib/kvmbpf/forbidden"
#define SUID_COPY "/usr/local/sbin/lab-suid"

enum { SYSLOG_READ_ALL = 3, I386_GETPID = 20, NOBODY = 65534 };

static int closed(int fd)
{
	return fd < 0 ? fd : close(fd);
}

static int file_read(const char *path)
{
	return closed(open(path, O_RDONLY | O_CLOEXEC));
}

static int file_make(const char *path)
{
	return closed(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
}

/* In a folder that everybody may write to: no permission stands in the way. */
static int file_try(const char *path)
{
	return file_make(path) ? -1 : unlink(path);
}

/* In a process of its own, for what ends it or changes it. */
static int child(int (*run)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(run() ? errno : 0);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	errno = WIFSIGNALED(status) ? EINTR : WEXITSTATUS(status);
	return errno ? -1 : 0;
}

static int usr_write(void)
{
	return file_try("/usr/local/lab-open/file");
}

static int etc_write(void)
{
	return file_try("/etc/lab-open/file");
}

static int var_write(void)
{
	return file_try("/var/lab-open/file");
}

static int home_read(void)
{
	return file_read("/root/secret");
}

static int tmp_read(void)
{
	return file_read("/tmp/lab-outside");
}

static int disk_read(void)
{
	return file_read("/dev/vda");
}

static int modules_read(void)
{
	return file_read("/usr/lib/modules/lab-file");
}

static int module_load(void)
{
	errno = 0;
	syscall(SYS_init_module, "", 0L, "");
	return errno == EPERM ? -1 : 0; /* ENOEXEC where it would be taken */
}

static int kernel_log_read(void)
{
	char text[64];

	return klogctl(SYSLOG_READ_ALL, text, sizeof(text)) < 0 ? -1 : 0;
}

static int clock_set(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return clock_settime(CLOCK_REALTIME, &now);
}

static int hostname_set(void)
{
	return sethostname("lab", 3);
}

static int cgroup_make(void)
{
	int r = mkdir("/sys/fs/cgroup/lab-forbidden", 0755);

	return r ? r : rmdir("/sys/fs/cgroup/lab-forbidden");
}

static int personality_set(void)
{
	return personality(ADDR_NO_RANDOMIZE) < 0 ? -1 : personality(0) < 0;
}

static int code_make(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? -1 : munmap(page, 4096);
}

static int new_mounts(void)
{
	return unshare(CLONE_NEWNS);
}

static int namespace_make(void)
{
	return child(new_mounts);
}

static int first_in_first_out(void)
{
	return sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
}

static int realtime_set(void)
{
	return child(first_in_first_out);
}

static int suid_make(void)
{
	return file_make(OWN_FILE) || chmod(OWN_FILE, 04755) || unlink(OWN_FILE) ? -1 : 0;
}

static int become_root(void)
{
	if (!geteuid() && setresuid(NOBODY, NOBODY, NOBODY))
		return -1;
	return execl(SUID_COPY, SUID_COPY, "root?", NULL);
}

static int suid_run(void)
{
	return child(become_root);
}

static int for_all_to_read(void)
{
	struct stat stat_buf = {0};

	unlink(OWN_FILE);
	if (file_make(OWN_FILE) || stat(OWN_FILE, &stat_buf) || unlink(OWN_FILE))
		return -1;
	errno = EACCES;
	return stat_buf.st_mode & 0007 ? 0 : -1;
}

static int packet_socket(void)
{
	return closed(socket(AF_PACKET, SOCK_DGRAM, 0));
}

static int call_of_32_bit(void)
{
	long pid;

	__asm__ volatile("int $0x80" : "=a"(pid) : "a"(I386_GETPID) : "memory");
	return pid > 0 ? 0 : -1;
}

static int other_architecture(void)
{
	return child(call_of_32_bit);
}

static int mount_something(void)
{
	return mount("none", "/mnt", "tmpfs", 0, NULL) || umount("/mnt") ? -1 : 0;
}

static int priority_set(void)
{
	return setpriority(PRIO_PROCESS, 0, 0);
}

static int owner_change(void)
{
	return file_make(OWN_FILE) || chown(OWN_FILE, 1, 1) || unlink(OWN_FILE) ? -1 : 0;
}

static const struct {
	const char *protection;
	int (*attempt)(void);
} attempts[] = {
	{"ProtectSystem-usr", usr_write},
	{"ProtectSystem-etc", etc_write},
	{"ProtectSystem-var", var_write},
	{"ProtectHome", home_read},
	{"PrivateTmp", tmp_read},
	{"PrivateDevices", disk_read},
	{"ProtectKernelModules-files", modules_read},
	{"ProtectKernelModules-load", module_load},
	{"ProtectKernelLogs", kernel_log_read},
	{"ProtectClock", clock_set},
	{"ProtectHostname", hostname_set},
	{"ProtectControlGroups", cgroup_make},
	{"LockPersonality", personality_set},
	{"MemoryDenyWriteExecute", code_make},
	{"RestrictNamespaces", namespace_make},
	{"RestrictRealtime", realtime_set},
	{"RestrictSUIDSGID", suid_make},
	{"NoNewPrivileges", suid_run},
	{"UMask", for_all_to_read},
	{"RestrictAddressFamilies", packet_socket},
	{"SystemCallArchitectures", other_architecture},
	{"SystemCallFilter-mount", mount_something},
	{"SystemCallFilter-resources", priority_set},
	{"CapabilityBoundingSet", owner_change},
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "root?"))
		return geteuid() ? EPERM : 0;
	/* For RemoveIPC=: to be gone with the unit. */
	shmget(0x6b766d, 4096, IPC_CREAT | 0600);
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		errno = 0;
		if (attempts[i].attempt())
			printf("%s refused: %s\n", attempts[i].protection, strerror(errno));
		else
			printf("%s allowed\n", attempts[i].protection);
		fflush(stdout);
	}
	return 0;
}
