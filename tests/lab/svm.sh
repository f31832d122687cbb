# SPDX-License-Identifier: LGPL-2.1-or-later
# Part of ./run: a host under SVM, emulated by QEMU. It sees the source tree and the results live.

make_goal=all
fetch_also=

pack_host()
{
	{ cat "$lab/host-svm-$host.cpio"; project_binaries | pack_libraries; } >"$out/initrd"
}

# The programs and libraries of ours that the build left, apart from the lab's own files.
project_binaries()
{
	find "$top/build" \( -path "$lab" -o -path "$top/build/apt" \) -prune -o \
		-type f -perm -u+x -print0 | xargs -0r grep -lzaP -m 1 '\A\x7fELF' || true
}

# Whether a CPU of the host met a triple fault, out of what QEMU says of resets.
keep_triple_fault()
{
	grep -a -s 'Triple fault' "$out/resets.log" >"$out/triple-fault.log" || rm "$out/triple-fault.log"
}

# Without AVX2, which QEMU emulates so slowly that what a library does with it takes twenty times as
# long as without: two seconds for the hash of a kernel's symbols.
boot_host()
{
	local status=0

	timeout --foreground "$timeout" "$lab/qemu" -accel tcg,thread=multi,tb-size=512 \
		-cpu "$cpu,-avx2" -smp 2 -m 2048 -M pc -nodefaults -display none -monitor none -no-reboot \
		-serial "file:$out/console.log" \
		-virtfs "local,path=$top,mount_tag=project,security_model=none,readonly=on" \
		-virtfs "local,path=$out,mount_tag=out,security_model=none" \
		-d cpu_reset -D "$out/resets.log" \
		-kernel "$lab/pkgs/vmlinuz-$host" -initrd "$out/initrd" \
		-append "console=ttyS0 panic=-1 oops=panic mitigations=off quiet" \
		>"$out/qemu.log" 2>&1 || status=$?
	keep_triple_fault
	return "$status"
}

remove_host()
{
	rm -f "$out/initrd"
}
