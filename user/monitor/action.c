// SPDX-License-Identifier: LGPL-2.1-or-later
/* Does what policies say about violations, and tells what became of it. */
#include "action.h"

#include "cleanup.h"
#include "clock.h"
#include "guest.h"
#include "log.h"
#include "report.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ASKED_MAX = 128 };

/* What the helper was asked for. */
struct asked {
	uint64_t id; /* 0: free */
	enum config_action_kind kind;
	json_t *vm;
	char vm_id[40], vm_name[128], check[32], finding[40], command[128];
};

struct actions {
	struct config_set *configs; /* what the helper knows */
	pid_t pid;		    /* of the helper; 0: there is none */
	int fd;
	sd_event_source *source;
	struct event_stream *stream;
	uint64_t last_id;
	struct asked asked[ASKED_MAX];
};

static const char *const kind_names[] = { "report", "restore", "pause", "exec" };

/* ---- which there are ----------------------------------------------------------------------- */

const struct config_action *action_at(const struct config *config, uint32_t index)
{
	for (unsigned int i = 0; i < config->policy_count; i++) {
		const struct config_policy *policy = &config->policies[i];

		if (index < policy->action_count)
			return &policy->actions[index];
		index -= policy->action_count;
	}
	return NULL;
}

static bool text_same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool action_same(const struct config_action *a, const struct config_action *b)
{
	if (a->kind != b->kind || a->command.count != b->command.count ||
	    !text_same(a->user, b->user) || !text_same(a->timeout, b->timeout) ||
	    !text_same(a->qmp, b->qmp) || !text_same(a->libvirt, b->libvirt))
		return false;
	for (unsigned int i = 0; i < a->command.count; i++)
		if (strcmp(a->command.items[i], b->command.items[i]))
			return false;
	return true;
}

static bool for_helper(const struct config_action *action)
{
	return action->kind == ACTION_PAUSE || action->kind == ACTION_EXEC;
}

/* As the helper knows it; UINT32_MAX: it does not. */
static uint32_t known_index(const struct actions *actions, const struct config_action *action)
{
	const struct config *config = actions ? config_merged(actions->configs) : NULL;
	const struct config_action *known;

	for (uint32_t i = 0; config && (known = action_at(config, i)); i++)
		if (action_same(known, action))
			return i;
	return UINT32_MAX;
}

static bool any(const struct config *config, bool (*wanted)(const struct config_action *action))
{
	const struct config_action *action;

	for (uint32_t i = 0; (action = action_at(config, i)); i++)
		if (wanted(action))
			return true;
	return false;
}

static bool is_restore(const struct config_action *action)
{
	return action->kind == ACTION_RESTORE;
}

bool actions_write(const struct config *config)
{
	return any(config, is_restore);
}

bool actions_missing(const struct actions *actions, const struct config *config)
{
	const struct config_action *action;

	for (uint32_t i = 0; (action = action_at(config, i)); i++)
		if (action->kind != ACTION_REPORT && known_index(actions, action) == UINT32_MAX)
			return true;
	return false;
}

/* ---- start and end ------------------------------------------------------------------------- */

static int helper_start(struct actions *actions, const char *user)
{
	int pair[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (!pid) {
		close(pair[0]);
		action_helper(pair[1], config_merged(actions->configs), user);
	}
	r = pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	actions->pid = pid;
	actions->fd = pair[0];
	return 0;
}

int actions_new(struct config_set *configs, const char *user, struct actions **ret_actions)
{
	const struct config *config = config_merged(configs);
	struct actions *actions;
	int r = 0;

	*ret_actions = NULL;
	if (!action_at(config, 0))
		return 0;
	actions = calloc(1, sizeof(*actions));
	if (!actions)
		return -ENOMEM;
	actions->fd = -1;
	actions->configs = config_ref(configs);
	if (any(config, for_helper))
		r = helper_start(actions, user);
	if (r < 0) {
		actions_free(actions);
		return r;
	}
	*ret_actions = actions;
	return 0;
}

void actions_free(struct actions *actions)
{
	if (!actions)
		return;
	sd_event_source_disable_unref(actions->source);
	if (actions->fd >= 0)
		close(actions->fd);
	for (size_t i = 0; i < ASKED_MAX; i++)
		json_decref(actions->asked[i].vm);
	config_free(actions->configs);
	free(actions);
}

/* ---- results ------------------------------------------------------------------------------- */

static const char *outcome_name(enum action_outcome outcome)
{
	return outcome == ACTION_OK ? "ok" : outcome == ACTION_FAILED ? "failed" : "skipped";
}

static void tell(struct actions *actions, const struct asked *asked,
		 const struct action_result *result)
{
	const char *outcome = outcome_name(result->outcome);
	json_t *event, *response;
	char message[256];

	snprintf(message, sizeof(message), "%s: action %s, for check %s: %s", asked->vm_name,
		 kind_names[asked->kind], asked->check, outcome);
	event = event_new(actions->stream, "action.done",
			  result->outcome == ACTION_OK ? SEVERITY_INFO : SEVERITY_MEDIUM,
			  clock_real(), clock_mono(), message);
	json_object_set(event, "vm", asked->vm);
	response = json_pack("{s:s, s:s, s:s, s:s, s:I}", "kind", kind_names[asked->kind],
			     "result", outcome, "check", asked->check, "finding", asked->finding,
			     "duration_us", (json_int_t)result->duration_us);
	if (result->reason[0])
		json_object_set_new(response, "reason", event_string(result->reason));
	if (asked->command[0])
		json_object_set_new(response, "command", event_string(asked->command));
	if (result->exit_status >= 0)
		json_object_set_new(response, "exit_status", json_integer(result->exit_status));
	json_object_set_new(event, "response", response);
	event_emit(actions->stream, event);
}

static void result_take(struct actions *actions, const struct action_result *result)
{
	for (size_t i = 0; i < ASKED_MAX; i++) {
		struct asked *asked = &actions->asked[i];

		if (!result->id || asked->id != result->id)
			continue;
		tell(actions, asked, result);
		json_decref(asked->vm);
		memset(asked, 0, sizeof(*asked));
	}
}

static void helper_lost(struct actions *actions)
{
	struct action_result result = { .outcome = ACTION_FAILED,
					.exit_status = -1,
					.reason = "the helper process is gone" };

	log_error("the process that runs actions is gone: start the monitor anew");
	actions->source = sd_event_source_disable_unref(actions->source);
	close(actions->fd);
	actions->fd = -1;
	for (size_t i = 0; i < ASKED_MAX; i++) {
		result.id = actions->asked[i].id;
		result_take(actions, &result);
	}
}

static int on_result(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	struct actions *actions = ctx;
	struct action_result result;
	ssize_t n = recv(fd, &result, sizeof(result), MSG_DONTWAIT);

	(void)source, (void)revents;
	if (n == (ssize_t)sizeof(result)) {
		result.reason[sizeof(result.reason) - 1] = '\0';
		result_take(actions, &result);
	} else if (!n || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		helper_lost(actions);
	}
	return 0;
}

int actions_start(struct actions *actions, sd_event *event, struct event_stream *stream)
{
	int r;

	actions->stream = stream;
	if (actions->fd < 0)
		return 0;
	r = sd_event_add_io(event, &actions->source, actions->fd, EPOLLIN, on_result, actions);
	return r < 0 ? r : 0;
}

/* ---- violations ---------------------------------------------------------------------------- */

static void asked_fill(struct asked *asked, const struct guest *guest,
		       const struct finding *finding, const struct config_action *action)
{
	asked->kind = action->kind;
	asked->vm = report_vm(guest);
	snprintf(asked->vm_id, sizeof(asked->vm_id), "%s", guest->id);
	snprintf(asked->vm_name, sizeof(asked->vm_name), "%s", guest->info.name);
	snprintf(asked->check, sizeof(asked->check), "%s",
		 checks[finding->difference.object.check].name);
	snprintf(asked->finding, sizeof(asked->finding), "%s", finding->id);
	if (action->command.count)
		snprintf(asked->command, sizeof(asked->command), "%s", action->command.items[0]);
}

static struct asked *place_free(struct actions *actions)
{
	for (size_t i = 0; i < ASKED_MAX; i++)
		if (!actions->asked[i].id)
			return &actions->asked[i];
	return NULL;
}

/* A VM is paused once, however much is wrong with it. */
static bool pause_is_under_way(const struct actions *actions, const struct guest *guest)
{
	for (size_t i = 0; i < ASKED_MAX; i++)
		if (actions->asked[i].id && actions->asked[i].kind == ACTION_PAUSE &&
		    !strcmp(actions->asked[i].vm_id, guest->id))
			return true;
	return false;
}

static const char *request_send(struct actions *actions, struct asked *asked,
				const struct guest *guest, uint32_t index, const json_t *event)
{
	struct action_request request = { .action = index,
					  .pid = guest->info.pid,
					  .uuid = !strcmp(guest->id, guest->info.uuid) };
	_cleanup_free_ char *text = json_dumps(event, JSON_COMPACT);
	struct iovec parts[] = { { &request, sizeof(request) }, { text, text ? strlen(text) : 0 } };
	const struct msghdr message = { .msg_iov = parts, .msg_iovlen = array_size(parts) };

	if (!text)
		return strerror(ENOMEM);
	text[parts[1].iov_len++] = '\n';
	request.id = ++actions->last_id;
	snprintf(request.vm_name, sizeof(request.vm_name), "%s", guest->info.name);
	snprintf(request.vm_id, sizeof(request.vm_id), "%s", guest->id);
	snprintf(request.check, sizeof(request.check), "%s", asked->check);
	snprintf(request.finding, sizeof(request.finding), "%s", asked->finding);
	if (sendmsg(actions->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return errno == EAGAIN ? "too many actions wait already" : strerror(errno);
	asked->id = request.id;
	return NULL;
}

static void helper_ask(struct actions *actions, const struct guest *guest,
		       const struct finding *finding, const struct config_action *action,
		       const json_t *event)
{
	struct action_result result = { .outcome = ACTION_SKIPPED, .exit_status = -1 };
	struct asked here = { 0 }, *asked = place_free(actions);
	uint32_t index = known_index(actions, action);
	const char *why = NULL;

	if (action->kind == ACTION_PAUSE && pause_is_under_way(actions, guest))
		return;
	if (!asked)
		why = "too many actions wait already";
	asked = asked ? asked : &here;
	asked_fill(asked, guest, finding, action);
	if (actions->fd < 0 || index == UINT32_MAX)
		why = "not known to the helper process: taken up at the next start only";
	if (!why)
		why = request_send(actions, asked, guest, index, event);
	if (!why)
		return;
	snprintf(result.reason, sizeof(result.reason), "%s", why);
	tell(actions, asked, &result);
	json_decref(asked->vm);
	memset(asked, 0, sizeof(*asked));
}

static bool action_fits(const struct config_action *action, const struct guest *guest,
			enum check_id check)
{
	if (action->min_severity && guest->policy.severity[check] < *action->min_severity)
		return false;
	for (unsigned int i = 0; i < action->checks.count; i++)
		if (!fnmatch(action->checks.items[i], checks[check].name, 0))
			return true;
	return !action->checks.count;
}

void actions_run(struct actions *actions, struct guest *guest, const struct finding *finding,
		 const json_t *event)
{
	for (unsigned int i = 0; i < guest->policy.action_count; i++) {
		const struct config_action *action = &guest->policy.actions[i];
		struct action_result result;
		struct asked asked = { 0 };

		if (!action_fits(action, guest, finding->difference.object.check))
			continue;
		if (for_helper(action))
			helper_ask(actions, guest, finding, action, event);
		if (action->kind != ACTION_RESTORE)
			continue;
		action_restore(guest, finding, &result);
		asked_fill(&asked, guest, finding, action);
		tell(actions, &asked, &result);
		json_decref(asked.vm);
	}
}
