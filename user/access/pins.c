// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pins maps and programs in bpffs, where bpftool finds them. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/snapshot.skel.h"
#include "pins.h"

enum { PINNED_MAPS = 4, PATH_SIZE = 512 };

static struct bpf_map *pinned_map(const struct ka_host *host, size_t index)
{
	struct bpf_map *const maps[PINNED_MAPS] = {
		host->snapshot->maps.vcpus,
		host->snapshot->maps.vms,
		host->snapshot->maps.vcpu_slots,
		host->snapshot->maps.counters,
	};

	return maps[index];
}

/* One process holds the directory at a time; the lock ends with it, however it ends. */
static int directory_lock(const char *path, int *ret_fd)
{
	int fd, err;

	if ((mkdir(path, 0700) && errno != EEXIST) || chmod(path, 0700))
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) || (mkdirat(fd, "maps", 0700) && errno != EEXIST) ||
	    (mkdirat(fd, "progs", 0700) && errno != EEXIST)) {
		err = -errno;
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

static int pin_all(struct ka_host *host, const char *path)
{
	struct bpf_program *program;
	char file[PATH_SIZE];
	int err = 0;

	for (size_t i = 0; i < PINNED_MAPS && !err; i++) {
		snprintf(file, sizeof(file), "%s/maps/%s", path,
			 bpf_map__name(pinned_map(host, i)));
		/* Left by a monitor that was killed. */
		unlink(file);
		err = bpf_map__pin(pinned_map(host, i), file);
	}
	/* Programs that call the module hold it: left behind, they would keep it from being removed. */
	bpf_object__for_each_program(program, host->snapshot->obj) {
		if (err || host->helper || !bpf_program__autoload(program))
			continue;
		snprintf(file, sizeof(file), "%s/progs/%s", path, bpf_program__name(program));
		unlink(file);
		err = bpf_program__pin(program, file);
	}
	return err;
}

void pins_add(struct ka_host *host, const char *path)
{
	int err;

	err = directory_lock(path, &host->pin_fd);
	if (err == -EWOULDBLOCK) {
		host_feature(host, "pins", KA_FEATURE_OFF, "%s is held by another monitor", path);
		return;
	}
	if (!err) {
		err = pin_all(host, path);
		if (err)
			pins_remove(host);
	}
	if (err)
		host_feature(host, "pins", KA_FEATURE_OFF, "cannot pin under %s: %s", path,
			     strerror(-err));
	else
		host_feature(host, "pins", KA_FEATURE_ON, "%s", path);
}

void pins_remove(struct ka_host *host)
{
	struct bpf_program *program;
	char file[PATH_SIZE];

	if (host->pin_fd < 0)
		return;
	for (size_t i = 0; i < PINNED_MAPS; i++) {
		snprintf(file, sizeof(file), "maps/%s", bpf_map__name(pinned_map(host, i)));
		unlinkat(host->pin_fd, file, 0);
	}
	bpf_object__for_each_program(program, host->snapshot->obj) {
		snprintf(file, sizeof(file), "progs/%s", bpf_program__name(program));
		unlinkat(host->pin_fd, file, 0);
	}
	unlinkat(host->pin_fd, "maps", AT_REMOVEDIR);
	unlinkat(host->pin_fd, "progs", AT_REMOVEDIR);
	close(host->pin_fd);
	host->pin_fd = -1;
}
