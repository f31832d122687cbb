// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf-monitor: watches the kernels of KVM guests from the host. */
#include "log.h"
#include "monitor.h"
#include "options.h"

int main(int argc, char **argv)
{
	enum monitor_exit status;
	struct options options;

	if (options_parse(argc, argv, &options) < 0)
		return MONITOR_USAGE;
	if (options.verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	status = options.version ? monitor_version() : monitor_run(&options);
	options_deinit(&options);
	return status;
}
