// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writes a file beside the one that is meant, and renames it, so that no reader sees half of it. */
#include "textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct textfile {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	char *path, *beside;
	/* Under the lock. */
	char *text;
	size_t len;
	bool busy, ending;
	int error;
};

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Readable for all: its reader is another user's process. */
static int replace(const struct textfile *file, const char *text, size_t len)
{
	int fd = open(file->beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644), r;

	if (fd < 0)
		return -errno;
	r = fchmod(fd, 0644) < 0 ? -errno : write_all(fd, text, len);
	if (close(fd) < 0 && !r)
		r = -errno;
	if (!r && rename(file->beside, file->path) < 0)
		r = -errno;
	if (r < 0)
		unlink(file->beside);
	return r;
}

static void *run(void *ctx)
{
	struct textfile *file = ctx;

	pthread_mutex_lock(&file->lock);
	for (;;) {
		char *text = file->text;
		size_t len = file->len;
		int r;

		if (!text && file->ending)
			break;
		if (!text) {
			pthread_cond_wait(&file->wanted, &file->lock);
			continue;
		}
		file->text = NULL;
		file->busy = true;
		pthread_mutex_unlock(&file->lock);
		r = replace(file, text, len);
		free(text);
		pthread_mutex_lock(&file->lock);
		file->error = r;
		file->busy = false;
	}
	pthread_mutex_unlock(&file->lock);
	return NULL;
}

static void destroy(struct textfile *file)
{
	pthread_cond_destroy(&file->wanted);
	pthread_mutex_destroy(&file->lock);
	free(file->path);
	free(file->beside);
	free(file);
}

/* Signals are for the event loop: a thread that does not block them would take them as they are. */
static int thread_start(struct textfile *file)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&file->thread, NULL, run, file);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

int textfile_new(const char *path, struct textfile **ret_file)
{
	struct textfile *file = calloc(1, sizeof(*file));
	int r = 0;

	if (!file)
		return -ENOMEM;
	pthread_mutex_init(&file->lock, NULL);
	pthread_cond_init(&file->wanted, NULL);
	file->path = strdup(path);
	/* Not "*.prom": node_exporter would read it. */
	if (!file->path || asprintf(&file->beside, "%s.new", path) < 0) {
		file->beside = NULL;
		r = -ENOMEM;
	}
	if (!r)
		r = thread_start(file);
	if (r < 0) {
		destroy(file);
		return r;
	}
	*ret_file = file;
	return 0;
}

void textfile_write(struct textfile *file, char *text, size_t len)
{
	bool taken;

	pthread_mutex_lock(&file->lock);
	taken = !file->busy && !file->text;
	if (taken) {
		file->text = text;
		file->len = len;
		pthread_cond_signal(&file->wanted);
	}
	pthread_mutex_unlock(&file->lock);
	if (!taken)
		free(text);
}

int textfile_error(struct textfile *file)
{
	int r;

	pthread_mutex_lock(&file->lock);
	r = file->error;
	pthread_mutex_unlock(&file->lock);
	return r;
}

void textfile_free(struct textfile *file)
{
	if (!file)
		return;
	pthread_mutex_lock(&file->lock);
	file->ending = true;
	pthread_cond_signal(&file->wanted);
	pthread_mutex_unlock(&file->lock);
	pthread_join(file->thread, NULL);
	unlink(file->path);
	destroy(file);
}
