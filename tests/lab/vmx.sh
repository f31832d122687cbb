# SPDX-License-Identifier: LGPL-2.1-or-later
# Part of ./run: a host under VMX, emulated by Bochs, which shares no folders. A CD boots it; its root
# is a disk with all that a run needs of the source tree, from which the results are taken at the end.
# Bochs runs some 100 million instructions a second, so nothing large is unpacked or copied in there.

make_goal=vmx
fetch_also=vmx
disk_size=384M
PATH=$PATH:/usr/sbin:/sbin # of e2fsprogs

pack_host()
{
	root=$(mktemp -d)
	(cd "$root" && cpio --quiet -id <"$lab/host-vmx-$host.cpio")
	copy_project
	find "$root/project/build" -type f | pack_libraries | (cd "$root" && cpio --quiet -idu)
	cp "$out/job" "$root/out/"
	pack_cd
}

# What a job uses of the tree, at the same places.
copy_project()
{
	local files

	files=$(cd "$top" && ls -d build/libkvmaccess.so* build/kvmbpf build/kvmbpf-monitor \
		build/lab/guest-"$guest".cpio build/lab/pkgs/vmlinuz-"$guest" \
		build/kmod/"$host"/*.ko 2>/dev/null) || true
	tar -C "$top" -ch $files | tar -C "$root/project" -x
}

pack_cd()
{
	local tree

	tree=$(mktemp -d)
	cp -L "$lab/pkgs/vmlinuz-$host" "$tree/vmlinuz"
	cp "$lab/disk-$host.cpio" "$tree/initrd"
	cp "$lab/eltorito.img" "$tree/"
	"$lab/packaged" bochs usr/bin/xorriso -as mkisofs -quiet -o "$out/cd" -b eltorito.img \
		-no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info "$tree" 2>"$out/cd.log"
	rm -rf "$tree"
}

write_bochsrc()
{
	cat >"$out/bochsrc" <<-EOF
	cpu: model=corei7_skylake_x, count=1, ips=500000000, reset_on_triple_fault=0
	memory: guest=1024, host=1024
	romimage: file=$lab/pkgs/bochs/usr/share/bochs/BIOS-bochs-latest
	vgaromimage: file=$lab/pkgs/bochs/usr/share/vgabios/vgabios.bin
	ata0-master: type=cdrom, path=$out/cd, status=inserted
	ata0-slave: type=disk, path=$out/disk, mode=flat
	boot: cdrom
	com1: enabled=1, mode=file, dev=$out/console.log
	log: $out/bochs.log
	panic: action=fatal
	error: action=report
	info: action=ignore
	display_library: nogui
	clock: sync=none, time0=utc
	EOF
}

boot_host()
{
	local status=0

	rm -f "$out/disk"
	truncate -s "$disk_size" "$out/disk"
	mke2fs -q -F -t ext4 -O ^has_journal -d "$root" "$out/disk"
	write_bochsrc
	timeout --foreground "$timeout" "$lab/bochs" -q -f "$out/bochsrc" >"$out/bochs.out" 2>&1 ||
		status=$?
	take_results
	return "$status"
}

take_results()
{
	local tree

	tree=$(mktemp -d)
	debugfs -R "rdump /out $tree" "$out/disk" 2>"$out/debugfs.log"
	cp "$tree"/out/* "$out/"
	rm -rf "$tree"
}

remove_host()
{
	rm -rf "$root" "$out/cd" "$out/disk"
}
