// SPDX-License-Identifier: LGPL-2.1-or-later
/* What libvirt's status files say about a VM. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <expat.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "labels.h"
#include "libvirt.h"
#include "text.h"

enum {
	FILES_MAX = 4096,   /* tried in one directory */
	VALUE_MAX = 512,
	PATH_TEXT_MAX = 96,
	CHUNK = 8192,
};

/* Between namespace and local name; no URI holds it. */
#define SEPARATOR '\n'
#define NOVA_PREFIX "http://openstack.org/xmlns/libvirt/nova/"
#define KUBEVIRT_URI "http://kubevirt.io"

struct status_parser {
	XML_Parser expat;
	pid_t pid;
	unsigned int depth;
	bool in_domain, done;
	char *value;              /* takes the text now, or NULL */
	size_t value_len;
	char name[VALUE_MAX], uuid[VALUE_MAX], text[VALUE_MAX];
	bool in_metadata;
	char path[PATH_TEXT_MAX]; /* of the element of the metadata, without namespaces */
	unsigned int too_deep;    /* elements open that it has no room for */
	char labels[KA_LABELS_MAX];
	bool have_name, have_uuid;
	const char *manager;
	int error;
};

static void status_stop(struct status_parser *p, int error)
{
	p->error = error;
	XML_StopParser(p->expat, XML_FALSE);
}

static bool pid_matches(const char **attributes, pid_t pid)
{
	char want[16];

	snprintf(want, sizeof(want), "%d", pid);
	for (; attributes[0]; attributes += 2)
		if (!strcmp(attributes[0], "pid"))
			return !strcmp(attributes[1], want);
	return false;
}

static const char *local_name(const char *name)
{
	const char *at = strrchr(name, SEPARATOR);

	return at ? at + 1 : name;
}

/*
 * Every text and attribute of the metadata is a label, by its path: instance/owner/project and
 * instance/owner/project/@uuid of OpenStack's.
 */
static void metadata_start(struct status_parser *p, const char *element, const char **attributes)
{
	size_t used = strlen(p->path);
	char key[PATH_TEXT_MAX * 2];

	element = local_name(element);
	if (p->too_deep || used + strlen(element) + 2 > sizeof(p->path)) {
		p->too_deep++;
		return;
	}
	sprintf(p->path + used, "%s%s", used ? "/" : "", element);
	for (; attributes[0]; attributes += 2) {
		int len = snprintf(key, sizeof(key), "%s/@%s", p->path, local_name(attributes[0]));

		if (len < (int)sizeof(key))
			labels_add(p->labels, key, attributes[1], strlen(attributes[1]));
	}
	p->text[0] = '\0';
	p->value = p->text;
}

static void metadata_end(struct status_parser *p)
{
	char *last = strrchr(p->path, '/');

	if (p->too_deep) {
		p->too_deep--;
		return;
	}
	if (p->value == p->text)
		labels_add(p->labels, p->path, p->text, strlen(p->text));
	*(last ? last : p->path) = '\0';
}

static void note_manager(struct status_parser *p, const char *element)
{
	if (!strncmp(element, NOVA_PREFIX, strlen(NOVA_PREFIX)))
		p->manager = "openstack";
	else if (!strncmp(element, KUBEVIRT_URI "\n", strlen(KUBEVIRT_URI "\n")))
		p->manager = "kubevirt";
}

static void on_start(void *ctx, const char *element, const char **attributes)
{
	struct status_parser *p = ctx;

	p->depth++;
	p->value = NULL;
	p->value_len = 0;
	if (p->depth == 1 && strcmp(element, "domstatus"))
		status_stop(p, -EBADMSG);
	else if (p->depth == 1 && !pid_matches(attributes, p->pid))
		status_stop(p, -ESRCH);
	else if (p->depth == 2)
		p->in_domain = !strcmp(element, "domain");
	else if (!p->in_domain)
		return;
	else if (p->depth == 3 && !strcmp(element, "name") && !p->have_name)
		p->value = p->name, p->have_name = true;
	else if (p->depth == 3 && !strcmp(element, "uuid") && !p->have_uuid)
		p->value = p->uuid, p->have_uuid = true;
	else if (p->depth == 3)
		p->in_metadata = !strcmp(element, "metadata");
	else
		note_manager(p, element);
	if (p->depth > 3 && p->in_metadata)
		metadata_start(p, element, attributes);
}

static void on_end(void *ctx, const char *element)
{
	struct status_parser *p = ctx;

	(void)element;
	if (p->depth > 3 && p->in_metadata)
		metadata_end(p);
	else if (p->depth == 3)
		p->in_metadata = false;
	p->value = NULL;
	p->depth--;
	if (p->depth == 1 && p->in_domain) {
		p->done = true;
		status_stop(p, 0);
	}
}

static void on_text(void *ctx, const char *text, int len)
{
	struct status_parser *p = ctx;
	size_t room = VALUE_MAX - 1 - p->value_len;

	if (!p->value)
		return;
	if ((size_t)len > room)
		len = room;
	memcpy(p->value + p->value_len, text, len);
	p->value_len += len;
	p->value[p->value_len] = '\0';
}

static void on_doctype(void *ctx, const char *name, const char *system_id, const char *public_id,
		       int internal_subset)
{
	(void)name, (void)system_id, (void)public_id, (void)internal_subset;
	status_stop(ctx, -EBADMSG);
}

static int status_parser_init(struct status_parser *p, pid_t pid)
{
	*p = (struct status_parser){.pid = pid, .manager = "libvirt"};
	p->expat = XML_ParserCreateNS("UTF-8", SEPARATOR);
	if (!p->expat)
		return -ENOMEM;
	XML_SetUserData(p->expat, p);
	XML_SetElementHandler(p->expat, on_start, on_end);
	XML_SetCharacterDataHandler(p->expat, on_text);
	XML_SetStartDoctypeDeclHandler(p->expat, on_doctype);
	return 0;
}

/* 1 while more is wanted, 0 when all is known, or -errno. */
static int status_parser_feed(struct status_parser *p, const char *bytes, size_t len, bool last)
{
	if (XML_Parse(p->expat, bytes, len, last) == XML_STATUS_OK)
		return last ? -EBADMSG : 1;
	return p->done ? 0 : p->error ? p->error : -EBADMSG;
}

static int status_parser_take(const struct status_parser *p, struct libvirt_status *ret_status)
{
	struct libvirt_status status = {.manager = p->manager};

	text_printable(p->name, strlen(p->name), status.name, sizeof(status.name));
	text_uuid(p->uuid, strlen(p->uuid), status.uuid);
	memcpy(status.labels, p->labels, sizeof(status.labels));
	if (!*status.name && !*status.uuid)
		return -EBADMSG;
	*ret_status = status;
	return 0;
}

int libvirt_status_parse(const char *xml, size_t len, pid_t pid, struct libvirt_status *ret_status)
{
	struct status_parser p;
	int err;

	if (len > LIBVIRT_STATUS_MAX)
		return -EBADMSG;
	err = status_parser_init(&p, pid);
	if (err)
		return err;
	err = status_parser_feed(&p, xml, len, true);
	if (!err)
		err = status_parser_take(&p, ret_status);
	XML_ParserFree(p.expat);
	return err;
}

/* In pieces: most files of a directory belong to other VMs, which their first element says. */
static int status_read(int fd, pid_t pid, struct libvirt_status *ret_status)
{
	struct status_parser p;
	char bytes[CHUNK];
	size_t total = 0;
	int err = status_parser_init(&p, pid);

	if (err)
		return err;
	do {
		ssize_t len = read(fd, bytes, sizeof(bytes));

		if (len < 0)
			err = -errno;
		else if ((total += len) > LIBVIRT_STATUS_MAX)
			err = -EBADMSG;
		else
			err = status_parser_feed(&p, bytes, len, len == 0);
	} while (err > 0);
	if (!err)
		err = status_parser_take(&p, ret_status);
	XML_ParserFree(p.expat);
	return err;
}

static int status_try(int root_fd, const char *folder, const char *file, pid_t pid,
		      struct libvirt_status *ret_status)
{
	char path[NAME_MAX + 64];
	int fd, err;

	if (snprintf(path, sizeof(path), "%s/%s", folder, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = file_open_regular(root_fd, path, LIBVIRT_STATUS_MAX);
	if (fd < 0)
		return fd;
	err = status_read(fd, pid, ret_status);
	close(fd);
	return err;
}

static int status_search(int root_fd, const char *folder, pid_t pid,
			 struct libvirt_status *ret_status)
{
	int fd = file_open_in(root_fd, folder, O_RDONLY | O_DIRECTORY), err = -ENOENT;
	struct dirent *entry;
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	for (int i = 0; err && i < FILES_MAX && (entry = readdir(dir)); i++) {
		size_t len = strlen(entry->d_name);

		if (len > 4 && !strcmp(entry->d_name + len - 4, ".xml"))
			err = status_try(root_fd, folder, entry->d_name, pid, ret_status);
	}
	closedir(dir);
	return err ? -ENOENT : 0;
}

int libvirt_status_find(int root_fd, pid_t pid, const char *name,
			struct libvirt_status *ret_status)
{
	/* The system's daemon; then a session's with XDG_RUNTIME_DIR=/run, as KubeVirt's is. */
	static const char *const folders[] = {
		"/run/libvirt/qemu", "/run/libvirt/qemu/run",
		"/var/run/libvirt/qemu", "/var/run/libvirt/qemu/run",
	};
	const size_t count = sizeof(folders) / sizeof(folders[0]);
	char file[KA_NAME_MAX + 8];

	if (*name && *name != '.' && !strchr(name, '/')) {
		snprintf(file, sizeof(file), "%s.xml", name);
		for (size_t i = 0; i < count; i++)
			if (!status_try(root_fd, folders[i], file, pid, ret_status))
				return 0;
	}
	for (size_t i = 0; i < count; i++)
		if (!status_search(root_fd, folders[i], pid, ret_status))
			return 0;
	return -ENOENT;
}
