// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writes diagnostics to stderr, with sd-daemon's level prefixes where the journal reads it. */
#include "log.h"

#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

static enum log_level log_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	log_level = level;
}

void log_line(enum log_level level, const char *format, ...)
{
	static const char *const prefixes[] = { SD_ERR, SD_WARNING, SD_INFO, SD_DEBUG };
	char line[1024], clean[1024];
	va_list args;

	if (level > log_level)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* Names of VMs come from outside. */
	text_clean(clean, sizeof(clean), line);
	for (char *at = clean; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = '?';
	fprintf(stderr, "%skvmbpf-monitor: %s\n", getenv("JOURNAL_STREAM") ? prefixes[level] : "",
		clean);
}
