// SPDX-License-Identifier: LGPL-2.1-or-later
/* The process that runs programs and asks VMMs: a child for each, of a few at once, with a time. */
#include "action.h"

#include "cleanup.h"
#include "clock.h"
#include "duration.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	RUNNING_MAX = 4,
	WAITING_MAX = 64,
	TIMEOUT_DEFAULT_S = 30,
	EXIT_REASON = 120, /* the pipe has why */
	REASON_FD = 3,
};

static const char default_user[] = "kvmbpf";
static const char virsh[] = "/usr/bin/virsh";

struct waiting {
	struct action_request request;
	char *event;
	size_t len;
};

struct running {
	pid_t pid; /* 0: free */
	uint64_t id, begin_ns, end_ns;
	bool timed_out;
	int reason_fd;
};

struct helper {
	int fd, signals;
	const struct config *config;
	const char *user;
	struct waiting waiting[WAITING_MAX];
	size_t count;
	struct running running[RUNNING_MAX];
};

/* ---- the child ----------------------------------------------------------------------------- */

_Noreturn static void child_fail(const char *format, const char *what)
{
	dprintf(REASON_FD, format, what);
	_exit(EXIT_REASON);
}

static void capabilities_clear(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { 0 };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, sets))
		child_fail("capabilities: %s", strerror(errno));
}

static void become(const char *name, bool required)
{
	const struct passwd *user = getpwnam(name);

	if (!user && required)
		child_fail("no user %s", name);
	if (!user)
		return;
	if (geteuid() == user->pw_uid)
		return;
	if (initgroups(user->pw_name, user->pw_gid) ||
	    setresgid(user->pw_gid, user->pw_gid, user->pw_gid) ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid))
		child_fail("cannot become %s", name);
}

/* Where the VM's owner has a say in the name, it shall not lead out of the folder. */
static void path_make(char path[static PATH_MAX], const char *pattern,
		      const struct action_request *request)
{
	const char *brace = strchr(pattern, '{'), *value = NULL;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)request->pid);
	if (!brace) {
		snprintf(path, PATH_MAX, "%s", pattern);
		return;
	}
	if (!strncmp(brace, "{name}", 6))
		value = request->vm_name;
	else if (!strncmp(brace, "{uuid}", 6))
		value = request->uuid ? request->vm_id : NULL;
	else if (!strncmp(brace, "{pid}", 5))
		value = pid;
	if (!value || !*value || *value == '.' || strchr(value, '/'))
		child_fail("%s: not with this VM's name or UUID", pattern);
	snprintf(path, PATH_MAX, "%.*s%s%s", (int)(brace - pattern), pattern, value,
		 strchr(brace, '}') + 1);
}

_Noreturn static void pause_vm(const struct config_action *action,
			       const struct action_request *request)
{
	char reason[ACTION_REASON_MAX] = "", path[PATH_MAX];
	char *arguments[] = { (char *)virsh, "-q", "-c", action->libvirt, "suspend",
			      (char *)request->vm_id, NULL };
	static char *environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", NULL };

	if (action->qmp) {
		path_make(path, action->qmp, request);
		if (action_pause_qmp(path, reason) < 0)
			child_fail("%s", reason);
		_exit(0);
	}
	if (!request->uuid)
		child_fail("the VM has no UUID%s", "");
	execve(virsh, arguments, environment);
	child_fail("%s cannot be run", virsh);
}

_Noreturn static void program_run(const struct helper *helper, const struct config_action *action,
				  const struct action_request *request)
{
	char vm_id[64], vm_name[160], check[64], finding[64], pid[32];
	char *environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", vm_id, vm_name,
				check, finding, pid, NULL };
	char *arguments[action->command.count + 1];

	snprintf(vm_id, sizeof(vm_id), "KVMBPF_VM_ID=%s", request->vm_id);
	snprintf(vm_name, sizeof(vm_name), "KVMBPF_VM_NAME=%s", request->vm_name);
	snprintf(check, sizeof(check), "KVMBPF_CHECK=%s", request->check);
	snprintf(finding, sizeof(finding), "KVMBPF_FINDING=%s", request->finding);
	snprintf(pid, sizeof(pid), "KVMBPF_VM_PID=%d", (int)request->pid);
	for (unsigned int i = 0; i < action->command.count; i++)
		arguments[i] = action->command.items[i];
	arguments[action->command.count] = NULL;
	if (action->user)
		become(action->user, true);
	else
		become(helper->user ? helper->user : default_user, helper->user);
	if (geteuid())
		capabilities_clear();
	if (chdir("/"))
		child_fail("/: %s", strerror(errno));
	execve(arguments[0], arguments, environment);
	child_fail("%s cannot be run", arguments[0]);
}

/* The event as standard input; standard output goes where diagnostics do. */
static void descriptors_set(int event, int reason)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (dup2(event, STDIN_FILENO) < 0 || dup2(reason, REASON_FD) < 0 ||
	    fcntl(REASON_FD, F_SETFD, FD_CLOEXEC) < 0 ||
	    (fcntl(STDERR_FILENO, F_GETFD) < 0 && dup2(null, STDERR_FILENO) < 0) ||
	    dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(EXIT_REASON);
	syscall(SYS_close_range, REASON_FD + 1, UINT_MAX, 0);
}

_Noreturn static void child(const struct helper *helper, const struct waiting *job, int reason)
{
	const struct config_action *action = action_at(helper->config, job->request.action);
	int event = memfd_create("event", MFD_CLOEXEC);
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	if (event < 0 || write(event, job->event, job->len) != (ssize_t)job->len ||
	    lseek(event, 0, SEEK_SET))
		_exit(EXIT_REASON);
	descriptors_set(event, reason);
	if (action->kind == ACTION_PAUSE)
		pause_vm(action, &job->request);
	program_run(helper, action, &job->request);
}

/* ---- the helper ---------------------------------------------------------------------------- */

static void reply(const struct helper *helper, const struct action_result *result)
{
	/* A monitor that does not read has ended. */
	(void)!send(helper->fd, result, sizeof(*result), MSG_NOSIGNAL);
}

static void refuse(const struct helper *helper, uint64_t id, enum action_outcome outcome,
		   const char *reason)
{
	struct action_result result = { .id = id, .outcome = outcome, .exit_status = -1 };

	snprintf(result.reason, sizeof(result.reason), "%s", reason);
	reply(helper, &result);
}

static uint64_t timeout_of(const struct config_action *action)
{
	uint64_t ns = TIMEOUT_DEFAULT_S * NS_PER_S;

	if (action->timeout)
		duration_parse(action->timeout, &ns); /* validated */
	return ns;
}

static void start(struct helper *helper, struct running *running, const struct waiting *job)
{
	int reason[2];
	pid_t pid;

	if (pipe2(reason, O_CLOEXEC | O_NONBLOCK) < 0) {
		refuse(helper, job->request.id, ACTION_FAILED, strerror(errno));
		return;
	}
	pid = fork();
	if (!pid)
		child(helper, job, reason[1]);
	close(reason[1]);
	if (pid < 0) {
		refuse(helper, job->request.id, ACTION_FAILED, strerror(errno));
		close(reason[0]);
		return;
	}
	*running = (struct running){ .pid = pid,
				     .id = job->request.id,
				     .begin_ns = clock_mono(),
				     .reason_fd = reason[0] };
	running->end_ns = running->begin_ns +
			  timeout_of(action_at(helper->config, job->request.action));
}

static void start_waiting(struct helper *helper)
{
	for (size_t i = 0; i < RUNNING_MAX && helper->count; i++) {
		struct waiting job = helper->waiting[0];

		if (helper->running[i].pid)
			continue;
		memmove(helper->waiting, helper->waiting + 1,
			--helper->count * sizeof(*helper->waiting));
		start(helper, &helper->running[i], &job);
		free(job.event);
	}
}

static void ended(struct helper *helper, struct running *running, int status)
{
	struct action_result result = { .id = running->id,
					.outcome = ACTION_FAILED,
					.exit_status = -1,
					.duration_us = (clock_mono() - running->begin_ns) /
						       NS_PER_US };
	ssize_t n = read(running->reason_fd, result.reason, sizeof(result.reason) - 1);

	result.reason[n > 0 ? n : 0] = '\0';
	if (WIFEXITED(status) && !(WEXITSTATUS(status) == EXIT_REASON && n > 0))
		result.exit_status = WEXITSTATUS(status);
	if (running->timed_out)
		snprintf(result.reason, sizeof(result.reason), "not done in time, and killed");
	else if (WIFSIGNALED(status))
		snprintf(result.reason, sizeof(result.reason), "ended by signal %d",
			 WTERMSIG(status));
	else if (!result.exit_status)
		result.outcome = ACTION_OK;
	close(running->reason_fd);
	running->pid = 0;
	reply(helper, &result);
}

static void reap(struct helper *helper)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < RUNNING_MAX; i++)
			if (helper->running[i].pid == pid)
				ended(helper, &helper->running[i], status);
}

/* Kills what is over its time, with all that it started; when to look again, in ms, or -1. */
static int times_check(struct helper *helper)
{
	uint64_t now = clock_mono(), next = UINT64_MAX;

	for (size_t i = 0; i < RUNNING_MAX; i++) {
		struct running *running = &helper->running[i];

		if (!running->pid || running->timed_out)
			continue;
		if (now >= running->end_ns) {
			running->timed_out = true;
			kill(-running->pid, SIGKILL);
		} else if (running->end_ns < next) {
			next = running->end_ns;
		}
	}
	return next == UINT64_MAX ? -1 : (int)((next - now) / NS_PER_MS + 1);
}

static bool any_running(const struct helper *helper)
{
	for (size_t i = 0; i < RUNNING_MAX; i++)
		if (helper->running[i].pid)
			return true;
	return helper->count;
}

/* False: the monitor has ended. */
static bool take(struct helper *helper)
{
	static char buf[sizeof(struct action_request) + ACTION_EVENT_MAX + 1];
	struct waiting job = { 0 };
	ssize_t n = recv(helper->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	if ((size_t)n < sizeof(job.request))
		return true;
	memcpy(&job.request, buf, sizeof(job.request));
	if (!action_at(helper->config, job.request.action))
		return true;
	if (helper->count == WAITING_MAX) {
		refuse(helper, job.request.id, ACTION_SKIPPED, "too many actions wait already");
		return true;
	}
	job.len = (size_t)n - sizeof(job.request);
	job.event = malloc(job.len + 1);
	if (!job.event)
		return true;
	memcpy(job.event, buf + sizeof(job.request), job.len);
	helper->waiting[helper->count++] = job;
	return true;
}

/* The unit's user needs no capability for this; root must remain what programs may be run as. */
static void settle(struct helper *helper)
{
	sigset_t set;

	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* Who reads the monitor's events shall see their end. */
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	prctl(PR_SET_NAME, "kvmbpf-actions", 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	helper->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (geteuid()) {
		struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
		struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { 0 };

		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		syscall(SYS_capset, &header, sets);
	}
}

_Noreturn void action_helper(int fd, const struct config *config, const char *user)
{
	static struct helper helper;
	struct signalfd_siginfo info;
	bool open = true;

	helper = (struct helper){ .fd = fd, .config = config, .user = user };
	settle(&helper);
	while (open || any_running(&helper)) {
		struct pollfd polled[] = { { .fd = open ? fd : -1, .events = POLLIN },
					   { .fd = helper.signals, .events = POLLIN } };

		start_waiting(&helper);
		poll(polled, array_size(polled), times_check(&helper));
		while (read(helper.signals, &info, sizeof(info)) > 0)
			;
		reap(&helper);
		if (polled[0].revents)
			open = take(&helper);
	}
	_exit(0);
}
