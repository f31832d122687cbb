// SPDX-License-Identifier: LGPL-2.1-or-later
/* Command lines, status files and process files as managers write them, and as attackers would. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../user/access/cmdline.h"
#include "../../user/access/identity.h"
#include "../../user/access/labels.h"
#include "../../user/access/libvirt.h"
#include "../../user/access/process.h"
#include "../../user/access/text.h"

#define UUID "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
#define BYTES(literal) (literal), sizeof(literal)

/* ---- command lines ------------------------------------------------------------------------- */

static struct cmdline_facts parse(const char *bytes, size_t len)
{
	struct cmdline_facts facts;

	cmdline_parse(bytes, len, &facts);
	return facts;
}

#define EXPECT_FACTS(facts, want_name, want_uuid, want_hypervisor, want_manager) do {           \
	cr_expect_str_eq((facts).name, want_name);                                               \
	cr_expect_str_eq((facts).uuid, want_uuid);                                               \
	cr_expect_str_eq((facts).hypervisor, want_hypervisor);                                   \
	cr_expect_str_eq((facts).manager, want_manager);                                         \
} while (0)

Test(cmdline, libvirt)
{
	struct cmdline_facts facts = parse(BYTES(
		"/usr/bin/qemu-system-x86_64\0-name\0guest=web01,debug-threads=on\0-S\0-object\0"
		"{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":"
		"\"/var/lib/libvirt/qemu/domain-3-web01/master-key.aes\"}\0-machine\0"
		"pc-q35-7.2,usb=off,dump-guest-core=off\0-accel\0kvm\0-cpu\0host\0-m\0""4096\0"
		"-overcommit\0mem-lock=off\0-smp\0""2,sockets=2\0-uuid\0" UUID "\0-no-user-config\0"
		"-nodefaults\0-chardev\0socket,id=charmonitor,fd=33,server=on,wait=off\0-mon\0"
		"chardev=charmonitor,id=monitor,mode=control"));

	EXPECT_FACTS(facts, "web01", UUID, "qemu", "libvirt");
}

Test(cmdline, openstack)
{
	struct cmdline_facts facts = parse(BYTES(
		"/usr/libexec/qemu-kvm\0-name\0guest=instance-0000002a,debug-threads=on\0-machine\0"
		"pc-i440fx-rhel7.6.0,accel=kvm\0-uuid\0" UUID "\0-smbios\0"
		"type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,version=27.1.0,"
		"serial=" UUID ",uuid=" UUID ",family=Virtual Machine\0-nodefaults\0-chardev\0"
		"socket,id=charmonitor,path=/var/lib/libvirt/qemu/domain-1-instance-0000002a/"
		"monitor.sock,server,nowait"));

	EXPECT_FACTS(facts, "instance-0000002a", UUID, "qemu", "openstack");
}

Test(cmdline, proxmox)
{
	struct cmdline_facts facts = parse(BYTES(
		"/usr/bin/kvm\0-id\0""104\0-name\0mail,debug-threads=on\0-no-shutdown\0-chardev\0"
		"socket,id=qmp,path=/var/run/qemu-server/104.qmp,server=on,wait=off\0-mon\0"
		"chardev=qmp,mode=control\0-pidfile\0/var/run/qemu-server/104.pid\0-daemonize\0"
		"-smbios\0type=1,uuid=" UUID "\0-smp\0""4,sockets=1\0-nodefaults"));

	EXPECT_FACTS(facts, "mail", UUID, "qemu", "proxmox");
	cr_expect_str_eq(facts.vmid, "104");
}

Test(cmdline, proxmox_needs_id_and_pidfile_to_agree)
{
	struct cmdline_facts facts = parse(BYTES(
		"kvm\0-id\0""104\0-name\0mail\0-smp\0""1\0-nodefaults\0-pidfile\0"
		"/var/run/qemu-server/105.pid"));

	EXPECT_FACTS(facts, "mail", "", "qemu", "none");
	facts = parse(BYTES("kvm\0-id\0""10400000000000000000000000\0-smp\0""1\0-nodefaults\0"
			    "-pidfile\0/run/qemu-server/104000000000000.pid"));
	EXPECT_FACTS(facts, "", "", "qemu", "none");
}

Test(cmdline, kubevirt)
{
	struct cmdline_facts facts = parse(BYTES(
		"/usr/libexec/qemu-kvm\0-name\0guest=default_vm-demo,debug-threads=on\0-machine\0q35\0"
		"-accel\0kvm\0-uuid\0" UUID "\0-smbios\0type=1,manufacturer=KubeVirt,product=None,"
		"uuid=" UUID ",family=KubeVirt\0-no-user-config"));

	EXPECT_FACTS(facts, "default_vm-demo", UUID, "qemu", "kubevirt");
}

Test(cmdline, qemu_name_forms)
{
	struct cmdline_facts facts;

	facts = parse(BYTES("x\0-enable-kvm\0-name\0a,,b,process=qemu"));
	EXPECT_FACTS(facts, "a,b", "", "qemu", "none");
	facts = parse(BYTES("x\0--enable-kvm\0--name\0guest=a,,,,b"));
	EXPECT_FACTS(facts, "a,,b", "", "qemu", "none");
	facts = parse(BYTES("x\0-enable-kvm\0-name\0plain,guest=other"));
	EXPECT_FACTS(facts, "plain", "", "qemu", "none");
	facts = parse(BYTES("x\0-enable-kvm\0-name\0debug-threads=on,guest=late"));
	EXPECT_FACTS(facts, "late", "", "qemu", "none");
	facts = parse(BYTES("x\0-enable-kvm\0-name\0"));
	EXPECT_FACTS(facts, "", "", "qemu", "none");
	facts = parse("x\0-enable-kvm\0-name", 19);
	EXPECT_FACTS(facts, "", "", "qemu", "none");
}

Test(cmdline, uuid_is_whole_and_well_formed_or_none)
{
	struct cmdline_facts facts;

	facts = parse(BYTES("x\0-enable-kvm\0-uuid\0" "1B4E28BA-2FA1-11D2-883F-0016D3CCA427"));
	cr_expect_str_eq(facts.uuid, UUID);
	facts = parse(BYTES("x\0-enable-kvm\0-uuid\0" UUID "0"));
	cr_expect_str_eq(facts.uuid, "");
	facts = parse(BYTES("x\0-enable-kvm\0-uuid\0""00000000-0000-0000-0000-000000000000"));
	cr_expect_str_eq(facts.uuid, "");
	/* As swtpm's: the UUID of another VM in a path (kubevirt#7067). */
	facts = parse(BYTES("x\0-enable-kvm\0-chardev\0socket,id=c,path=/run/swtpm/" UUID ".sock"));
	cr_expect_str_eq(facts.uuid, "");
}

Test(cmdline, kernel_arguments_of_the_tenant_are_no_options)
{
	struct cmdline_facts facts = parse(BYTES(
		"x\0-enable-kvm\0-name\0real\0-append\0-name\0-kernel\0-uuid\0-m\0""64"));

	EXPECT_FACTS(facts, "real", "", "qemu", "none");
	facts = parse(BYTES("x\0-enable-kvm\0-append\0/libvirt/qemu/domain-"));
	EXPECT_FACTS(facts, "", "", "qemu", "none");
}

Test(cmdline, firecracker)
{
	struct cmdline_facts facts;

	facts = parse(BYTES("/firecracker\0--id=fc-7\0--start-time-us=1\0--api-sock\0/run/a.sock"));
	EXPECT_FACTS(facts, "fc-7", "", "firecracker", "none");
	facts = parse(BYTES("exe\0--id\0" UUID));
	EXPECT_FACTS(facts, UUID, UUID, "firecracker", "none");
	facts = parse(BYTES("exe\0--api-sock\0/a\0--\0--id=no"));
	EXPECT_FACTS(facts, "", "", "firecracker", "none");
}

Test(cmdline, cloud_hypervisor)
{
	struct cmdline_facts facts = parse(BYTES(
		"cloud-hypervisor\0--cpus\0boot=2\0--memory\0size=1G\0--kernel\0/vmlinux\0--platform\0"
		"num_pci_segments=1,uuid=" UUID "\0--api-socket\0/tmp/ch.sock"));

	EXPECT_FACTS(facts, "", UUID, "cloud-hypervisor", "none");
	facts = parse(BYTES("ch\0--cpus\0boot=2\0--memory=size=1G\0--disk\0path=a"));
	EXPECT_FACTS(facts, "", "", "cloud-hypervisor", "none");
}

Test(cmdline, the_executable_name_proves_nothing)
{
	struct cmdline_facts facts;

	facts = parse(BYTES("/usr/bin/qemu-system-x86_64"));
	EXPECT_FACTS(facts, "", "", "unknown", "none");
	facts = parse(BYTES("firecracker\0serve"));
	EXPECT_FACTS(facts, "", "", "unknown", "none");
	facts = parse(BYTES("crosvm\0run\0--cpus\0""2\0--disk\0a\0--vsock\0""3"));
	EXPECT_FACTS(facts, "", "", "unknown", "none");
	facts = parse(BYTES("lkvm\0run\0-k\0bzImage\0-m\0""64"));
	EXPECT_FACTS(facts, "", "", "unknown", "none");
	facts = parse("", 0);
	EXPECT_FACTS(facts, "", "", "unknown", "none");
}

Test(cmdline, hostile_name_becomes_printable)
{
	struct cmdline_facts facts = parse(BYTES(
		"x\0-enable-kvm\0-name\0a\x1b[2J\xff\xc0\xaf\xe2\x80\xae" "b\n\xc3\xa9"));

	cr_expect_str_eq(facts.name, "a?[2J????b?\xc3\xa9");
}

Test(cmdline, huge_argument_is_cut_between_characters)
{
	size_t len = 1 << 20;
	char *bytes = malloc(len);
	struct cmdline_facts facts;

	memcpy(bytes, "x\0-enable-kvm\0-name\0a", 21);
	for (size_t i = 21; i + 1 < len; i += 2)
		memcpy(bytes + i, "\xc3\xa9", 2);
	facts = parse(bytes, len - 1);
	cr_expect_eq(strlen(facts.name), KA_NAME_MAX - 1);
	cr_expect_eq((unsigned char)facts.name[KA_NAME_MAX - 2], 0xa9);
	free(bytes);
}

/* ---- status files -------------------------------------------------------------------------- */

#define STATUS(pid, domain)                                                                     \
	"<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n-->\n"                                  \
	"<domstatus state='running' reason='booted' pid='" pid "'>\n"                            \
	"  <taint flag='host-cpu'/>\n  <monitor path='/m' type='unix'/>\n"                       \
	"  <domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n" \
	domain "</domain></domstatus>\n"
#define NAMED "<name>web01</name>\n<uuid>" UUID "</uuid>\n"

static int parse_status(const char *xml, pid_t pid, struct libvirt_status *ret_status)
{
	return libvirt_status_parse(xml, strlen(xml), pid, ret_status);
}

Test(libvirt, status_gives_name_and_uuid)
{
	struct libvirt_status status;

	cr_assert_eq(parse_status(STATUS("4242", NAMED), 4242, &status), 0);
	cr_expect_str_eq(status.name, "web01");
	cr_expect_str_eq(status.uuid, UUID);
	cr_expect_str_eq(status.manager, "libvirt");
}

Test(libvirt, status_of_another_process_is_refused)
{
	struct libvirt_status status = {.name = "untouched"};

	cr_expect_eq(parse_status(STATUS("4243", NAMED), 4242, &status), -ESRCH);
	cr_expect_eq(parse_status(STATUS("42420", NAMED), 4242, &status), -ESRCH);
	cr_expect_eq(parse_status(STATUS("", NAMED), 4242, &status), -ESRCH);
	cr_expect_eq(parse_status("<domstatus><domain/></domstatus>", 4242, &status), -ESRCH);
	cr_expect_str_eq(status.name, "untouched");
}

Test(libvirt, metadata_names_the_manager)
{
	struct libvirt_status status;

	cr_assert_eq(parse_status(STATUS("7", NAMED
		"<metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>"
		"<nova:name>shop</nova:name></nova:instance></metadata>"), 7, &status), 0);
	cr_expect_str_eq(status.manager, "openstack");
	cr_expect_str_eq(status.name, "web01");
	cr_assert_eq(parse_status(STATUS("7", NAMED
		"<metadata><kubevirt xmlns='http://kubevirt.io'><uid/></kubevirt></metadata>"), 7,
		&status), 0);
	cr_expect_str_eq(status.manager, "kubevirt");
}

/* As libvirt 9 keeps it of a VM that Nova 27 made. */
Test(libvirt, metadata_gives_labels)
{
	struct libvirt_status status;

	cr_assert_eq(parse_status(STATUS("7", NAMED
		"<metadata>\n"
		"    <nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>\n"
		"      <nova:package version='27.1.0'/>\n"
		"      <nova:name>shop &lt;1&gt;</nova:name>\n"
		"      <nova:flavor name='m1.small'>\n        <nova:memory>2048</nova:memory>\n"
		"      </nova:flavor>\n"
		"      <nova:owner>\n        <nova:project uuid='5c2d'>demo</nova:project>\n"
		"      </nova:owner>\n"
		"      <nova:ports>\n        <nova:port uuid='1'><nova:ip type='fixed'/></nova:port>\n"
		"        <nova:port uuid='2'><nova:ip type='fixed'/></nova:port>\n      </nova:ports>\n"
		"    </nova:instance>\n"
		"    <site:labels xmlns:site='https://example.org/site'><site:tier>web</site:tier>\n"
		"    </site:labels>\n"
		"  </metadata><title>none</title>"), 7, &status), 0);
	cr_expect_str_eq(status.labels,
			 "instance/package/@version=27.1.0\ninstance/name=shop <1>\n"
			 "instance/flavor/@name=m1.small\ninstance/flavor/memory=2048\n"
			 "instance/owner/project/@uuid=5c2d\ninstance/owner/project=demo\n"
			 "instance/ports/port/@uuid=1\ninstance/ports/port/ip/@type=fixed\n"
			 "labels/tier=web\n");
}

Test(libvirt, hostile_metadata_gives_whole_labels_or_none)
{
	struct libvirt_status status;
	char *xml = calloc(1, LIBVIRT_STATUS_MAX), *at = xml;

	cr_assert_eq(parse_status(STATUS("7", NAMED
		"<metadata><a.b c='x&#10;y=z'>\u202e\xc2\x9b</a.b><e> \n </e><f>mixed<g/>text</f>"
		"</metadata>"), 7, &status), 0);
	cr_expect_str_eq(status.labels, "a_b/@c=x?y=z\na_b=??\n");
	at += sprintf(at, "<domstatus pid='7'><domain><name>n</name><metadata>");
	for (int i = 0; i < 1000; i++)
		at += sprintf(at, "<deep%d>", i);
	at += sprintf(at, "no");
	for (int i = 1000; i-- > 0; )
		at += sprintf(at, "</deep%d>", i);
	for (int i = 0; i < 1000; i++)
		at += sprintf(at, "<many%03d>%0500d</many%03d>", i, i, i);
	sprintf(at, "</metadata></domain></domstatus>");
	cr_assert_eq(parse_status(xml, 7, &status), 0);
	cr_expect_lt(strlen(status.labels), KA_LABELS_MAX);
	cr_expect_null(strstr(status.labels, "no"));
	cr_expect_not_null(strstr(status.labels, "many006="));
	cr_expect_eq(status.labels[strlen(status.labels) - 1], '\n');
	free(xml);
}

Test(libvirt, names_deeper_down_are_not_the_domains)
{
	struct libvirt_status status;

	cr_assert_eq(parse_status(STATUS("7",
		"<metadata><name>no</name></metadata><name>yes</name><name>late</name>"
		"<uuid><b>x</b></uuid>"), 7, &status), 0);
	cr_expect_str_eq(status.name, "yes");
	cr_expect_str_eq(status.uuid, "");
}

Test(libvirt, entities_are_refused)
{
	struct libvirt_status status;

	cr_expect_eq(parse_status(
		"<!DOCTYPE domstatus [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>"
		"<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;'>]>"
		"<domstatus pid='7'><domain><name>&d;</name></domain></domstatus>", 7, &status),
		-EBADMSG);
	cr_expect_eq(parse_status(
		"<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domstatus pid='7'><domain><name>a</name>"
		"</domain></domstatus>", 7, &status), -EBADMSG);
	cr_expect_eq(parse_status(STATUS("7", "<name>&x;</name>"), 7, &status), -EBADMSG);
}

Test(libvirt, damaged_files_are_refused)
{
	struct libvirt_status status;
	char *deep = malloc(LIBVIRT_STATUS_MAX + 2);

	cr_expect_eq(parse_status("", 7, &status), -EBADMSG);
	cr_expect_eq(parse_status("<domain><name>a</name></domain>", 7, &status), -EBADMSG);
	cr_expect_eq(parse_status("<domstatus pid='7'><domain><name>a</na", 7, &status), -EBADMSG);
	cr_expect_eq(parse_status("<domstatus pid='7'/>", 7, &status), -EBADMSG);
	cr_expect_eq(parse_status(STATUS("7", "<name></name>"), 7, &status), -EBADMSG);
	cr_expect_eq(parse_status(STATUS("7", "<name>\xff\xfe</name>"), 7, &status), -EBADMSG);
	for (size_t i = 0; i < LIBVIRT_STATUS_MAX; i += 3)
		memcpy(deep + i, "<a>", 3);
	cr_expect_eq(libvirt_status_parse(deep, 300000, 7, &status), -EBADMSG);
	cr_expect_eq(libvirt_status_parse(deep, LIBVIRT_STATUS_MAX + 1, 7, &status), -EBADMSG);
	free(deep);
}

Test(libvirt, long_name_is_cut)
{
	struct libvirt_status status;
	char xml[4096];

	snprintf(xml, sizeof(xml), STATUS("7", "<name>%01000d</name>"), 1);
	cr_assert_eq(parse_status(xml, 7, &status), 0);
	cr_expect_eq(strlen(status.name), KA_NAME_MAX - 1);
}

/* ---- trees --------------------------------------------------------------------------------- */

static char tree[64];

static void tree_make(void)
{
	strcpy(tree, "/tmp/kvmbpf-identity-XXXXXX");
	cr_assert_not_null(mkdtemp(tree));
}

static void tree_remove(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", tree);
	cr_assert_eq(system(command), 0);
}

static const char *in_tree(const char *path)
{
	static char full[4][512];
	static unsigned int turn;
	char *text = full[turn++ % 4];

	snprintf(text, sizeof(full[0]), "%s/%s", tree, path);
	return text;
}

/* Writes a file and makes the folders above it. */
static void put(const char *path, const char *bytes, size_t len)
{
	char full[512];
	int fd;

	snprintf(full, sizeof(full), "%s", in_tree(path));
	for (char *p = full + strlen(tree) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(full, 0755);
		*p = '/';
	}
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	cr_assert_geq(fd, 0, "%s", full);
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static void put_text(const char *path, const char *text)
{
	put(path, text, strlen(text));
}

static struct ka_vm_info identify(pid_t pid)
{
	struct ka_vm_info info = {.pid = pid, .vcpus = 3};
	char proc[512], root[512];

	snprintf(proc, sizeof(proc), "%s", in_tree("proc"));
	snprintf(root, sizeof(root), "%s", in_tree("root"));
	cr_assert_eq(identity_read_at(proc, root, pid, &info), 0);
	cr_expect_eq(info.vcpus, 3);
	return info;
}

#define EXPECT_INFO(info, want_name, want_manager, want_source, want_confidence) do {           \
	cr_expect_str_eq((info).name, want_name);                                                \
	cr_expect_str_eq((info).manager, want_manager);                                          \
	cr_expect_str_eq((info).id_source, want_source);                                         \
	cr_expect_str_eq((info).id_confidence, want_confidence);                                 \
} while (0)

TestSuite(identity, .init = tree_make, .fini = tree_remove);

Test(identity, status_file_outranks_the_command_line)
{
	struct ka_vm_info info;

	put("proc/7/cmdline", BYTES("x\0-enable-kvm\0-name\0guest=liar"));
	put_text("root/run/libvirt/qemu/other.xml", STATUS("8", "<name>other</name>"));
	put_text("root/run/libvirt/qemu/web01.xml", STATUS("7", NAMED));
	info = identify(7);
	EXPECT_INFO(info, "web01", "libvirt", "libvirt-status-xml", "high");
	cr_expect_str_eq(info.uuid, UUID);
	cr_expect_str_eq(info.hypervisor, "qemu");
}

Test(identity, overwritten_arguments_do_not_hide_the_status_file)
{
	put("proc/7/cmdline", BYTES("kvm\0-id\0""1\0-smp\0""1\0-nodefaults\0-pidfile\0"
				    "/run/qemu-server/1.pid"));
	put_text("root/run/libvirt/qemu/web01.xml", STATUS("7", NAMED));
	EXPECT_INFO(identify(7), "web01", "libvirt", "libvirt-status-xml", "high");
}

Test(identity, nothing_known_gives_the_pid)
{
	struct ka_vm_info info;

	put("proc/7/cmdline", "", 0);
	info = identify(7);
	EXPECT_INFO(info, "pid-7", "none", "pid", "low");
	cr_expect_str_eq(info.hypervisor, "unknown");
	cr_expect_str_eq(info.uuid, "");
}

Test(identity, process_that_is_gone)
{
	struct ka_vm_info info = {.name = "untouched"};

	put("proc/8/cmdline", "", 0);
	cr_expect_eq(identity_read_at(in_tree("proc"), in_tree("root"), 7, &info), -ESRCH);
	cr_expect_str_eq(info.name, "untouched");
}

Test(identity, names_that_are_paths_stay_in_the_folder)
{
	put("proc/7/cmdline", BYTES("x\0-enable-kvm\0-name\0guest=../../../secret"));
	put_text("root/secret.xml", STATUS("7", NAMED));
	put_text("root/run/libvirt/qemu/other.xml", STATUS("8", NAMED));
	EXPECT_INFO(identify(7), "../../../secret", "none", "cmdline", "medium");
}

Test(identity, proxmox_is_confirmed_by_its_cgroup)
{
	static const char argv[] = "kvm\0-id\0""104\0-name\0mail\0-smp\0""1\0-nodefaults\0-pidfile\0"
				   "/var/run/qemu-server/104.pid";

	put("proc/7/cmdline", BYTES(argv));
	put_text("proc/7/cgroup", "0::/qemu.slice/1040.scope\n");
	EXPECT_INFO(identify(7), "mail", "proxmox", "cmdline", "medium");
	put_text("proc/7/cgroup", "0::/qemu.slice/104.scope\n");
	EXPECT_INFO(identify(7), "mail", "proxmox", "cmdline", "high");
}

Test(identity, proxmox_has_tags)
{
	struct ka_vm_info info;

	put("proc/7/cmdline", BYTES("kvm\0-id\0""104\0-name\0mail\0-smp\0""1\0-nodefaults\0"
				    "-pidfile\0/var/run/qemu-server/104.pid"));
	put_text("root/etc/pve/nodes/pve1/qemu-server/104.conf",
		 "#tags: comment\nboot: order=scsi0\ncores: 4\nmemory: 2048\nname: mail\n"
		 "ostype: l26\nscsi0: local-lvm:vm-104-disk-0,size=32G\n"
		 "smbios1: uuid=" UUID "\ntags: prod;v1.2,web\n\n[before-upgrade]\n"
		 "tags: old\n");
	cr_assert_eq(symlink("nodes/pve1/qemu-server", in_tree("root/etc/pve/qemu-server")), 0);
	put_text("proc/7/cgroup", "0::/qemu.slice/1040.scope\n");
	info = identify(7);
	cr_expect_str_eq(info.labels, "", "of a number that a VMM made up");
	put_text("proc/7/cgroup", "0::/qemu.slice/104.scope\n");
	info = identify(7);
	cr_expect_str_eq(info.labels, "tags=;prod;v1.2;web;\n");
}

/* Nobody answers what the kernel asks of it: who looks there waits for ever. */
static int mount_that_hangs(const char *where)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[80];

	if (fd < 0)
		return -errno;
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (!mount("pve", where, "fuse", 0, options))
		return fd;
	close(fd);
	return -EPERM;
}

Test(identity, proxmox_whose_cluster_hangs_has_its_name, .timeout = 30)
{
	struct ka_vm_info info;
	int fd;

	put("proc/7/cmdline", BYTES("kvm\0-id\0""104\0-name\0mail\0-smp\0""1\0-nodefaults\0"
				    "-pidfile\0/var/run/qemu-server/104.pid"));
	put_text("proc/7/cgroup", "0::/qemu.slice/104.scope\n");
	put_text("root/etc/pve/qemu-server/104.conf", "tags: prod\n");
	fd = mount_that_hangs(in_tree("root/etc/pve"));
	if (fd < 0)
		cr_skip_test("/dev/fuse cannot be mounted here");
	for (int i = 0; i < 3; i++) {
		info = identify(7);
		cr_expect_str_eq(info.name, "mail");
		cr_expect_str_eq(info.labels, "");
		cr_expect_lt(identity_rank(&info), IDENTITY_SURE, "it is asked again");
	}
	umount2(in_tree("root/etc/pve"), MNT_DETACH);
	close(fd);
	/* Who hung is back before long. */
	for (int i = 0; i < 100 && !*info.labels; i++) {
		usleep(100000);
		info = identify(7);
	}
	cr_expect_str_eq(info.labels, "tags=;prod;\n");
	cr_expect_eq(identity_rank(&info), IDENTITY_SURE);
}

Test(identity, only_whole_tags)
{
	char labels[KA_LABELS_MAX] = "", line[4096] = "tags: a;;b , c";

	labels_add_proxmox(labels, line, strlen(line));
	cr_expect_str_eq(labels, "tags=;a;b;c;\n");
	labels[0] = '\0';
	snprintf(line, sizeof(line), "tags:%0300d;b;%0249d;c;d", 1, 2);
	labels_add_proxmox(labels, line, strlen(line));
	cr_expect_str_eq(labels + strlen(labels) - 4, ";c;\n");
	labels[0] = '\0';
	labels_add_proxmox(labels, BYTES("x: y\n[snapshot]\ntags: no"));
	labels_add_proxmox(labels, BYTES("tags:"));
	labels_add_proxmox(labels, BYTES("tags: ;;"));
	cr_expect_str_eq(labels, "");
}

/* A process in a pod: another mount namespace, our user namespace, pid 77 in its own. */
static void put_pod(void)
{
	put("proc/7/cmdline", BYTES("qemu-kvm\0-enable-kvm\0-name\0guest=ns_vmi"));
	put_text("proc/7/status", "Name:\tqemu-kvm\nNSpid:\t7\t77\nThreads:\t4\n");
	put_text("proc/self/ns/mnt", "");
	put_text("proc/7/ns/mnt", "");
	put_text("proc/self/ns/user", "");
	cr_assert_eq(link(in_tree("proc/self/ns/user"), in_tree("proc/7/ns/user")), 0);
}

Test(identity, pod_is_read_with_the_pid_it_knows)
{
	put_pod();
	put_text("proc/7/root/run/libvirt/qemu/run/ns_vmi.xml", STATUS("7", "<name>no</name>"));
	put_text("proc/7/root/var/run/libvirt/qemu/ns_vmi.xml", STATUS("77", "<name>ns_vmi</name>"
		"<metadata><kubevirt xmlns='http://kubevirt.io'><uid>9f0c</uid></kubevirt></metadata>"));
	EXPECT_INFO(identify(7), "ns_vmi", "kubevirt", "pod-libvirt-status-xml", "medium");
	cr_expect_str_eq(identify(7).labels, "kubevirt/uid=9f0c\nkubevirt/namespace=ns\n"
					     "kubevirt/name=vmi\n");
}

Test(identity, pod_links_do_not_lead_out_of_it)
{
	put_pod();
	put_text("outside/ns_vmi.xml", STATUS("77", "<name>outside</name>"));
	put_text("proc/7/root/run/keep", "");
	cr_assert_eq(symlink("../../../../outside", in_tree("proc/7/root/run/libvirt")), 0);
	EXPECT_INFO(identify(7), "ns_vmi", "none", "cmdline", "medium");
	cr_assert_eq(unlink(in_tree("proc/7/root/run/libvirt")), 0);
	put_text("proc/7/root/run/libvirt/qemu/keep", "");
	cr_assert_eq(symlink(in_tree("outside/ns_vmi.xml"),
			     in_tree("proc/7/root/run/libvirt/qemu/ns_vmi.xml")), 0);
	EXPECT_INFO(identify(7), "ns_vmi", "none", "cmdline", "medium");
}

Test(identity, pod_pipes_and_huge_files_are_not_read, .timeout = 10)
{
	put_pod();
	put_text("proc/7/root/run/libvirt/qemu/huge.xml", STATUS("77", NAMED));
	cr_assert_eq(truncate(in_tree("proc/7/root/run/libvirt/qemu/huge.xml"), 1L << 40), 0);
	cr_assert_eq(mkfifo(in_tree("proc/7/root/run/libvirt/qemu/ns_vmi.xml"), 0600), 0);
	cr_assert_eq(mkdir(in_tree("proc/7/root/run/libvirt/qemu/folder.xml"), 0700), 0);
	EXPECT_INFO(identify(7), "ns_vmi", "none", "cmdline", "medium");
}

Test(identity, pod_with_its_own_user_namespace_is_left_alone)
{
	put_pod();
	put_text("proc/7/root/run/libvirt/qemu/ns_vmi.xml", STATUS("77", "<name>inside</name>"));
	cr_assert_eq(unlink(in_tree("proc/7/ns/user")), 0);
	put_text("proc/7/ns/user", "");
	EXPECT_INFO(identify(7), "ns_vmi", "none", "cmdline", "medium");
}

/* ---- processes ----------------------------------------------------------------------------- */

static int start_ticks(const char *text, uint64_t *ret_ticks)
{
	return process_stat_start_ticks(text, strlen(text), ret_ticks);
}

Test(process, start_ticks_whatever_the_process_is_called)
{
	uint64_t ticks;

	cr_assert_eq(start_ticks("7 (a) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 91823 1 2\n",
				 &ticks), 0);
	cr_expect_eq(ticks, 91823);
	cr_assert_eq(start_ticks("7 (a) S 0 (b) c) R 1 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 5 1\n",
				 &ticks), 0);
	cr_expect_eq(ticks, 5);
}

Test(process, damaged_stat_is_refused)
{
	uint64_t ticks = 1;

	cr_expect_eq(start_ticks("", &ticks), -EBADMSG);
	cr_expect_eq(start_ticks("7 (a)", &ticks), -EBADMSG);
	cr_expect_eq(start_ticks("7 (a) S 1 2 3", &ticks), -EBADMSG);
	cr_expect_eq(start_ticks("7 (a) S 1 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 -5 1", &ticks),
		     -EBADMSG);
	cr_expect_eq(start_ticks("7 (a) S 1 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 "
				 "99999999999999999999 1", &ticks), -EBADMSG);
	cr_expect_eq(ticks, 1);
}

Test(process, own_start_ticks)
{
	uint64_t ticks = 0, again = 1;

	cr_assert_eq(process_start_ticks(getpid(), &ticks), 0);
	cr_assert_eq(process_start_ticks(getpid(), &again), 0);
	cr_expect_gt(ticks, 0);
	cr_expect_eq(ticks, again);
	cr_expect_eq(process_start_ticks(0x3fffffff, &ticks), -ESRCH);
}

/* ---- text ---------------------------------------------------------------------------------- */

Test(text, only_whole_printable_characters)
{
	char text[16];

	cr_expect_eq(text_printable("\xf0\x9f\x98\x80", 4, text, sizeof(text)), 4);
	cr_expect_eq(text_printable("\xf0\x9f\x98\x80", 4, text, 4), 0);
	text_printable("\xed\xa0\x80|\xf4\x90\x80\x80|\xe0\x80\x80", 12, text, sizeof(text));
	cr_expect_str_eq(text, "???|????|???");
	text_printable("a\0b", 3, text, sizeof(text));
	cr_expect_str_eq(text, "a?b");
	text_printable("\xc2\x85\xe2\x80\xae", 5, text, sizeof(text));
	cr_expect_str_eq(text, "??");
	text_printable("\xc3", 1, text, sizeof(text));
	cr_expect_str_eq(text, "?");
}
