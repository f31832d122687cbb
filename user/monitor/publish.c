// SPDX-License-Identifier: LGPL-2.1-or-later
/* Serves the monitor's state and numbers, and writes the text file of the latter. */
#include "publish.h"

#include "clock.h"
#include "log.h"
#include "server.h"
#include "textfile.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXTFILE_S = 15 };

struct publish {
	struct publish_source source;
	bool vm_names;
	struct server *socket, *metrics;
	struct textfile *textfile;
	char *textfile_path;
	uint64_t written_ns;
	int textfile_error; /* as last told */
};

static void render_metrics(void *ctx, FILE *out)
{
	const struct publish *publish = ctx;
	const struct publish_source *source = &publish->source;
	const struct health_view view = source->view(source->ctx);

	metrics_render(source->metrics, source->health, &view, publish->vm_names, out);
}

static void render_status(void *ctx, FILE *out)
{
	const struct publish_source *source = &((struct publish *)ctx)->source;
	const struct health_view view = source->view(source->ctx);

	status_write(source->watch, source->health, &view, out);
}

#define METRICS_PAGE { "/metrics", "text/plain; version=0.0.4; charset=utf-8", render_metrics }

static const struct server_page socket_pages[] = {
	METRICS_PAGE,
	{ "/status", "application/json", render_status },
	{ NULL, NULL, NULL },
};

/* Names of VMs and what is wrong with them are not for every user of the host. */
static const struct server_page metrics_pages[] = {
	METRICS_PAGE,
	{ NULL, NULL, NULL },
};

static int serve(struct publish *publish, sd_event *event, const char *address,
		 const struct server_page *pages, struct server **ret_server)
{
	char error[SERVER_ERROR_MAX] = "";
	int r = server_new(event, address, pages, publish, ret_server, error);

	if (r < 0)
		log_error("%s", error[0] ? error : strerror(-r));
	return r;
}

static bool folder_exists(const char *path)
{
	char folder[256];
	struct stat st;

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	return !stat(folder, &st);
}

/* One that nobody asked for by name is no reason not to watch. */
static int socket_open(struct publish *publish, sd_event *event, const char *path)
{
	const bool asked = path;
	char address[256];
	int r;

	path = path ? path : STATUS_SOCKET;
	if (!strcmp(path, "off") || (!asked && !folder_exists(path)))
		return 0;
	snprintf(address, sizeof(address), "unix://%s", path);
	r = serve(publish, event, address, socket_pages, &publish->socket);
	return asked ? r : 0;
}

static int textfile_open(struct publish *publish, const char *path)
{
	int r;

	publish->textfile_path = strdup(path);
	r = publish->textfile_path ? textfile_new(path, &publish->textfile) : -ENOMEM;
	if (r < 0)
		log_error("%s: %s", path, strerror(-r));
	return r;
}

int publish_new(sd_event *event, const struct config *config, const struct publish_source *source,
		struct publish **ret_publish)
{
	const struct config_metrics *metrics = config->metrics;
	struct publish *publish = calloc(1, sizeof(*publish));
	int r;

	if (!publish)
		return -ENOMEM;
	publish->source = *source;
	publish->vm_names = metrics && metrics->vm_names && *metrics->vm_names == CONFIG_YES;
	r = socket_open(publish, event, config->socket);
	if (!r && metrics && metrics->address)
		r = serve(publish, event, metrics->address, metrics_pages, &publish->metrics);
	if (!r && metrics && metrics->textfile)
		r = textfile_open(publish, metrics->textfile);
	if (r < 0) {
		publish_free(publish);
		return r;
	}
	*ret_publish = publish;
	return 0;
}

static bool text_same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

bool publish_same(const struct config *a, const struct config *b)
{
	static const struct config_metrics none;
	const struct config_metrics *of_a = a->metrics ? a->metrics : &none;
	const struct config_metrics *of_b = b->metrics ? b->metrics : &none;

	return text_same(a->socket, b->socket) && text_same(of_a->address, of_b->address) &&
	       text_same(of_a->textfile, of_b->textfile) &&
	       (of_a->vm_names && *of_a->vm_names) == (of_b->vm_names && *of_b->vm_names);
}

static void tell_textfile(struct publish *publish)
{
	int r = textfile_error(publish->textfile);

	if (r == publish->textfile_error)
		return;
	publish->textfile_error = r;
	if (r < 0)
		log_error("metrics: %s: %s; trying again", publish->textfile_path, strerror(-r));
	else
		log_info("metrics: %s is written again", publish->textfile_path);
}

void publish_tick(struct publish *publish)
{
	uint64_t now = clock_mono();
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	if (!publish->textfile)
		return;
	tell_textfile(publish);
	if (publish->written_ns && now - publish->written_ns < TEXTFILE_S * NS_PER_S)
		return;
	out = open_memstream(&text, &len);
	if (!out)
		return;
	publish->written_ns = now;
	render_metrics(publish, out);
	if (fclose(out))
		free(text);
	else
		textfile_write(publish->textfile, text, len);
}

uint64_t publish_due(const struct publish *publish)
{
	return publish->textfile ? publish->written_ns + TEXTFILE_S * NS_PER_S : UINT64_MAX;
}

void publish_free(struct publish *publish)
{
	if (!publish)
		return;
	server_free(publish->socket);
	server_free(publish->metrics);
	textfile_free(publish->textfile);
	free(publish->textfile_path);
	free(publish);
}
