// SPDX-License-Identifier: LGPL-2.1-or-later
/* kexec KERNEL INITRD COMMAND-LINE: goes over to another kernel at once. */
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int kernel, initrd;

	if (argc != 4)
		return 2;
	kernel = open(argv[1], O_RDONLY);
	initrd = open(argv[2], O_RDONLY);
	if (kernel < 0 || initrd < 0 ||
	    syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], 0ul) ||
	    reboot(LINUX_REBOOT_CMD_KEXEC))
		perror("kexec");
	return 1;
}
