// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the command line of a VMM says about its VM. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cmdline.h"
#include "text.h"

enum { OPTION_TEXT_MAX = 1024 };

/* The arguments after the name of the program; `text` is always terminated. */
struct arguments {
	const char *next, *end;
	char text[4096];  /* the current one, cut */
};

static bool arguments_next(struct arguments *args)
{
	size_t len;

	if (args->next >= args->end)
		return false;
	len = strnlen(args->next, args->end - args->next);
	snprintf(args->text, sizeof(args->text), "%.*s", (int)len, args->next);
	args->next += len + 1;
	return true;
}

static struct arguments arguments_begin(const char *bytes, size_t len)
{
	struct arguments args = {.next = bytes, .end = bytes + len};

	arguments_next(&args);
	return args;
}

static bool in_list(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(word, *list))
			return true;
	return false;
}

/* A number or path that is cut would be another one: then rather none. */
static void take_whole(const char *text, char *ret_text, size_t size)
{
	size_t len = strlen(text);

	if (len >= size)
		len = 0;
	memcpy(ret_text, text, len);
	ret_text[len] = '\0';
}

static void take_name(struct cmdline_facts *facts, const char *name)
{
	if (*name)
		text_printable(name, strlen(name), facts->name, sizeof(facts->name));
}

/* ---- QEMU: -option VALUE, with one dash or two --------------------------------------------- */

/* All others take the next argument, which may look like an option: the tenant chooses -append. */
static const char *const qemu_flags[] = {
	"S", "alt-grab", "ctrl-grab", "curses", "daemonize", "enable-fips", "enable-kvm",
	"enable-sync-profile", "full-screen", "h", "help", "localtime", "mem-prealloc",
	"no-acpi", "no-fd-bootchk", "no-frame", "no-hpet", "no-kvm", "no-quit", "no-reboot",
	"no-shutdown", "no-user-config", "nodefaults", "nographic", "old-param",
	"only-migratable", "portrait", "preconfig", "s", "sdl", "semihosting", "singlestep",
	"snapshot", "usb", "version", "win2k-hack", "xen-attach", "xen-domid-restrict", NULL,
};

/* Options that together no other VMM has. */
static const char *const qemu_options[] = {
	"M", "accel", "bios", "blockdev", "boot", "cdrom", "chardev", "cpu", "device", "display",
	"drive", "enable-kvm", "hda", "machine", "mon", "netdev", "nic", "no-reboot",
	"no-user-config", "nodefaults", "nographic", "object", "qmp", "sandbox", "smbios", "smp",
	"vga", "vnc", NULL,
};

static const char *qemu_option(const char *arg)
{
	if (arg[0] != '-' || !arg[1])
		return NULL;
	return arg + (arg[1] == '-' ? 2 : 1);
}

static bool qemu_recognised(struct arguments args)
{
	unsigned int seen = 0;

	while (arguments_next(&args)) {
		const char *option = qemu_option(args.text);

		if (!option)
			continue;
		if (!strcmp(option, "enable-kvm"))
			return true;
		if (in_list(option, qemu_options) && ++seen == 2)
			return true;
		if (!in_list(option, qemu_flags))
			arguments_next(&args);
	}
	return false;
}

/* Takes the next "key=value" off a list of them, in which ",," stands for a comma. */
static bool qemu_list_next(const char **list, char *ret_item, size_t size)
{
	const char *p = *list;
	size_t used = 0;

	if (!*p)
		return false;
	for (; *p; p++) {
		if (*p == ',' && *++p != ',')
			break;
		if (used + 1 < size)
			ret_item[used++] = *p;
	}
	ret_item[used] = '\0';
	*list = p;
	return true;
}

/* As kvm_stat reads it: a plain name outranks guest=. */
static void qemu_take_name(struct cmdline_facts *facts, const char *value)
{
	char item[OPTION_TEXT_MAX];
	bool first = true;

	for (; qemu_list_next(&value, item, sizeof(item)); first = false) {
		if (first && !strchr(item, '=')) {
			take_name(facts, item);
			return;
		}
		if (!strncmp(item, "guest=", 6))
			take_name(facts, item + 6);
	}
}

/* SMBIOS type 1 carries the UUID where -uuid is not given, and the manager's name. */
static void qemu_take_smbios(struct cmdline_facts *facts, const char *value, char *uuid)
{
	char item[OPTION_TEXT_MAX];

	if (strncmp(value, "type=1,", 7))
		return;
	while (qemu_list_next(&value, item, sizeof(item))) {
		if (!strncmp(item, "uuid=", 5))
			text_uuid(item + 5, strlen(item + 5), uuid);
		else if (!strcmp(item, "product=OpenStack Nova") ||
			 !strcmp(item, "product=OpenStack Compute") ||
			 !strcmp(item, "manufacturer=OpenStack Foundation"))
			facts->manager = "openstack";
		else if (!strcmp(item, "manufacturer=KubeVirt"))
			facts->manager = "kubevirt";
	}
}

/* Marks of libvirt's own paths and names; weaker than what the manager above it left. */
static void qemu_note_libvirt(struct cmdline_facts *facts, const char *value)
{
	if (strcmp(facts->manager, "none"))
		return;
	if (strstr(value, "/libvirt/qemu/domain-") || strstr(value, "/libvirt/qemu/lib/domain-") ||
	    !strcmp(value, "chardev=charmonitor,id=monitor,mode=control"))
		facts->manager = "libvirt";
}

/* qemu-server gives both -id N and a pidfile of that number; the pidfile alone may be imitated. */
static void qemu_take_vmid(struct cmdline_facts *facts, const char *id, const char *pidfile)
{
	char want[64];

	if (!*id || strspn(id, "0123456789") != strlen(id))
		return;
	snprintf(want, sizeof(want), "/run/qemu-server/%s.pid", id);
	if (strcmp(pidfile, want) &&
	    (strncmp(pidfile, "/var", 4) || strcmp(pidfile + 4, want)))
		return;
	take_whole(id, facts->vmid, sizeof(facts->vmid));
	facts->manager = "proxmox";
}

static void qemu_parse(struct arguments args, struct cmdline_facts *facts)
{
	char smbios_uuid[KA_UUID_MAX] = "", id[16] = "", pidfile[64] = "";

	facts->hypervisor = "qemu";
	while (arguments_next(&args)) {
		const char *found = qemu_option(args.text);
		char option[16];

		if (!found || in_list(found, qemu_flags))
			continue;
		take_whole(found, option, sizeof(option));
		if (!arguments_next(&args))
			break;
		if (!strcmp(option, "name"))
			qemu_take_name(facts, args.text);
		else if (!strcmp(option, "uuid"))
			text_uuid(args.text, strlen(args.text), facts->uuid);
		else if (!strcmp(option, "smbios"))
			qemu_take_smbios(facts, args.text, smbios_uuid);
		else if (!strcmp(option, "id"))
			take_whole(args.text, id, sizeof(id));
		else if (!strcmp(option, "pidfile"))
			take_whole(args.text, pidfile, sizeof(pidfile));
		else if (strcmp(option, "append"))
			qemu_note_libvirt(facts, args.text);
	}
	if (!*facts->uuid)
		strcpy(facts->uuid, smbios_uuid);
	qemu_take_vmid(facts, id, pidfile);
}

/* ---- Firecracker and Cloud Hypervisor: --option VALUE or --option=VALUE --------------------- */

static const char *const firecracker_options[] = {
	"api-sock", "boot-timer", "config-file", "metrics-path", "mmds-size-limit", "no-api",
	"no-seccomp", "parent-cpu-time-us", "seccomp-filter", "start-time-cpu-us",
	"start-time-us", NULL,
};

static const char *const cloud_hypervisor_options[] = {
	"balloon", "cpus", "disk", "event-monitor", "fs", "memory", "pmem", "vsock", NULL,
};

/* Splits the current argument; `ret_option` is "" for what is no option. */
static const char *long_option(struct arguments *args, char *ret_option, size_t size)
{
	size_t len = strcspn(args->text, "=");

	ret_option[0] = '\0';
	if (strncmp(args->text, "--", 2) || len >= size + 2)
		return NULL;
	snprintf(ret_option, size, "%.*s", (int)(len - 2), args->text + 2);
	return args->text[len] ? args->text + len + 1 : NULL;
}

static const char *long_options_recognise(struct arguments args)
{
	unsigned int cloud_hypervisor = 0;
	bool id = false, subcommand, first = true;
	char option[32];

	/* crosvm and kvmtool have a subcommand first, and share option names. */
	for (; arguments_next(&args); first = false) {
		subcommand = first && args.text[0] != '-';
		if (subcommand || !strcmp(args.text, "--"))
			break;
		long_option(&args, option, sizeof(option));
		if (in_list(option, firecracker_options))
			return "firecracker";
		if (!strcmp(option, "api-socket") || !strcmp(option, "platform") ||
		    (in_list(option, cloud_hypervisor_options) && ++cloud_hypervisor == 2))
			return "cloud-hypervisor";
		id |= !strcmp(option, "id");
	}
	return id ? "firecracker" : "unknown";
}

static void cloud_hypervisor_take_platform(struct cmdline_facts *facts, const char *value)
{
	char item[OPTION_TEXT_MAX];

	while (qemu_list_next(&value, item, sizeof(item)))
		if (!strncmp(item, "uuid=", 5))
			text_uuid(item + 5, strlen(item + 5), facts->uuid);
}

static void long_options_parse(struct arguments args, struct cmdline_facts *facts)
{
	bool firecracker = !strcmp(facts->hypervisor, "firecracker");
	char option[32];

	while (arguments_next(&args) && strcmp(args.text, "--")) {
		const char *value = long_option(&args, option, sizeof(option));
		bool id = firecracker && !strcmp(option, "id");

		if (!id && (firecracker || strcmp(option, "platform")))
			continue;
		if (!value && !arguments_next(&args))
			break;
		if (!value)
			value = args.text;
		if (id) {
			take_name(facts, value);
			text_uuid(value, strlen(value), facts->uuid);
		} else {
			cloud_hypervisor_take_platform(facts, value);
		}
	}
}

void cmdline_parse(const char *bytes, size_t len, struct cmdline_facts *ret_facts)
{
	struct arguments args = arguments_begin(bytes, len);

	*ret_facts = (struct cmdline_facts){.hypervisor = "unknown", .manager = "none"};
	if (qemu_recognised(args)) {
		qemu_parse(args, ret_facts);
		return;
	}
	ret_facts->hypervisor = long_options_recognise(args);
	if (strcmp(ret_facts->hypervisor, "unknown"))
		long_options_parse(args, ret_facts);
}
