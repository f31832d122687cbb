// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pauses a VM through the QEMU Machine Protocol. */
#include "action.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Lines of a QMP server that are looked through for an answer: events come in between. */
enum { LINES_MAX = 1000 };

static int line_read(FILE *in, json_t **ret_json)
{
	char line[64 * 1024];

	errno = 0;
	if (!fgets(line, sizeof(line), in))
		return errno ? -errno : -ECONNRESET;
	*ret_json = json_loads(line, 0, NULL);
	return *ret_json ? 0 : -EBADMSG;
}

/* Waits for the member `key`, or an error. */
static int answer_wait(FILE *in, const char *key, char *reason)
{
	for (int i = 0; i < LINES_MAX; i++) {
		json_t *json;
		int r = line_read(in, &json);
		const char *error;
		bool found;

		if (r < 0) {
			snprintf(reason, ACTION_REASON_MAX, "no answer: %s", strerror(-r));
			return r;
		}
		found = json_object_get(json, key);
		error = json_string_value(
			json_object_get(json_object_get(json, "error"), "desc"));
		if (error)
			snprintf(reason, ACTION_REASON_MAX, "refused: %.120s", error);
		r = error ? -EPERM : found;
		json_decref(json);
		if (r)
			return r < 0 ? r : 0;
	}
	snprintf(reason, ACTION_REASON_MAX, "no answer among many lines");
	return -EBADMSG;
}

static int command(FILE *stream, int fd, const char *name, char *reason)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "{\"execute\": \"%s\"}\n", name);

	if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len) {
		snprintf(reason, ACTION_REASON_MAX, "cannot send: %s", strerror(errno));
		return -EIO;
	}
	return answer_wait(stream, "return", reason);
}

int action_pause_qmp(const char *path, char ret_reason[static ACTION_REASON_MAX])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	FILE *in;

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		snprintf(ret_reason, ACTION_REASON_MAX, "%.100s: %s", path, strerror(-r));
		close(fd);
		return r;
	}
	in = fdopen(fd, "r");
	if (!in) {
		close(fd);
		return -ENOMEM;
	}
	r = answer_wait(in, "QMP", ret_reason);
	r = r < 0 ? r : command(in, fd, "qmp_capabilities", ret_reason);
	r = r < 0 ? r : command(in, fd, "stop", ret_reason);
	fclose(in);
	return r;
}
