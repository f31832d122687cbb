/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a policy has done about a violation. Memory is restored right here; programs are run and VMMs
 * asked by a helper process, which is made before privileges are given up and knows its actions from
 * then on. Nothing waits for it: what it cannot take now is skipped, and told so.
 */
#ifndef MONITOR_ACTION_H
#define MONITOR_ACTION_H

#include "config.h"
#include "event.h"

#include <stdbool.h>
#include <systemd/sd-event.h>

struct actions;
struct finding;
struct guest;

/* Does any policy restore memory? */
bool actions_write(const struct config *config);

/*
 * Before privileges are given up, and before threads and descriptors that the helper is not to have.
 * `user`: of programs for which none is configured. Holds `configs`. *ret_actions NULL: there are
 * none.
 */
int actions_new(struct config_set *configs, const char *user, struct actions **ret_actions);
/* From now on results are told as events. */
int actions_start(struct actions *actions, sd_event *event, struct event_stream *stream);
/* What has begun goes on to its end. */
void actions_free(struct actions *actions);

/* A violation has opened or changed: does what the guest's policy says. `event` is the violation's. */
void actions_run(struct actions *actions, struct guest *guest, const struct finding *finding,
		 const json_t *event);

/* Does the configuration ask for actions that this process does not know? */
bool actions_missing(const struct actions *actions, const struct config *config);

/* ---- parts ---- */

enum { ACTION_REASON_MAX = 160, ACTION_EVENT_MAX = EVENT_LINE_MAX };

/* From the monitor to the helper; the event follows. */
struct action_request {
	uint64_t id;
	uint32_t action; /* among all of the configuration, in its order */
	int32_t pid;
	char vm_name[128], vm_id[40], check[32], finding[40];
	bool uuid; /* vm_id is the VMM's own */
};

enum action_outcome { ACTION_OK, ACTION_FAILED, ACTION_SKIPPED };

struct action_result {
	uint64_t id, duration_us;
	enum action_outcome outcome;
	int exit_status; /* -1: none */
	char reason[ACTION_REASON_MAX];
};

/* action_helper.c: serves requests until the other end is closed, and exits. */
_Noreturn void action_helper(int fd, const struct config *config, const char *user);
/* action_pause.c: asks QEMU at this socket to stop the VM. 0, or -errno and why. Blocks. */
int action_pause_qmp(const char *path, char ret_reason[static ACTION_REASON_MAX]);
/* action_restore.c */
void action_restore(struct guest *guest, const struct finding *finding,
		    struct action_result *ret_result);
/* All actions of a configuration; NULL: there are no more. */
const struct config_action *action_at(const struct config *config, uint32_t index);

#endif
