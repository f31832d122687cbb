// SPDX-License-Identifier: LGPL-2.1-or-later
/* Copy lines from stdin to stdout, each behind the real time at which its first byte came. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void print_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	printf("%lld.%09ld ", (long long)now.tv_sec, now.tv_nsec);
}

static void print_bytes(const char *bytes, ssize_t len)
{
	static bool inside_line;

	for (ssize_t i = 0; i < len; i++) {
		if (bytes[i] == '\r')
			continue;
		if (!inside_line)
			print_time();
		putchar(bytes[i]);
		inside_line = bytes[i] != '\n';
		if (!inside_line)
			fflush(stdout);
	}
}

int main(void)
{
	char bytes[4096];
	ssize_t len;

	while ((len = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0 || (len < 0 && errno == EINTR))
		print_bytes(bytes, len);
	return fflush(stdout) ? 1 : 0;
}
