# SPDX-License-Identifier: LGPL-2.1-or-later
# kvmbpf-monitor: `make help` lists the targets.

VERSION := 0.1.0
SONAME := libkvmaccess.so.0

CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
B := build
# BPF objects do not depend on how user space is compiled.
G := build/bpf
JOBS := $(shell nproc)

V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2);
else
Q :=
say =
endif
MAKEFLAGS += --no-print-directory

CPPFLAGS += -D_GNU_SOURCE= -DKVMBPF_VERSION='"$(VERSION)"' -Iinclude -Ibuild -I.
CFLAGS ?= -O2 -g
CFLAGS += -std=gnu11 -Wall -Wextra -Werror -fPIC -fstack-protector-strong \
	  -ffile-prefix-map=$(CURDIR)=. $(SANITIZE)
LDFLAGS += $(SANITIZE) -Wl,-z,relro,-z,now -Wl,--as-needed
DEPFLAGS = -MMD -MP
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -Wall -Wextra -Werror \
	      -Wno-unused-parameter -ffile-prefix-map=$(CURDIR)=. -Iinclude -I.

ACCESS_LIBS := -lbpf -lelf -llzma -lzstd -llz4 -lz -lexpat -lZydis
MONITOR_LIBS := -lsystemd -ljansson -lsqlite3 -lsodium -lzstd -lcyaml -lyaml -lcurl -lrdkafka -lseccomp
CLI_LIBS := -lncursesw -ltinfo
RPATH := -Wl,-rpath,'$$ORIGIN:$$ORIGIN/../lib'

bpf_names := $(patsubst bpf/%.bpf.c,%,$(wildcard bpf/*.bpf.c))
skels := $(bpf_names:%=$(G)/%.skel.h)
access_objs := $(patsubst %.c,$(B)/%.o,$(wildcard user/access/*.c))
monitor_objs := $(patsubst %.c,$(B)/%.o,$(wildcard user/monitor/*.c user/monitor/*/*.c))
monitor_parts := $(filter-out $(B)/user/monitor/main.o,$(monitor_objs))
cli_objs := $(patsubst %.c,$(B)/%.o,$(wildcard user/cli/*.c))
cli_parts := $(filter-out $(B)/user/cli/main.o,$(cli_objs))
lib := $(B)/libkvmaccess.so
programs := $(B)/kvmbpf-monitor $(B)/kvmbpf $(B)/vmlinux-check

.PHONY: all
all: $(lib) $(programs)

.PHONY: help
help:
	@sed -n 's/^#: //p' $(firstword $(MAKEFILE_LIST))

#: make                build the library, kvmbpf-monitor and kvmbpf
#: make demo           install what is missing, build, and show a rootkit's writes being reported
#: make check          install what is missing, build, run every test tier
#: make check-unit     only the unit tests (also with sanitizers) and fuzzers
#: make check-native   only tiny guests on this machine's /dev/kvm (root)
#: make check-lab-svm  only Debian guests on an emulated AMD host
#: make soak           an hour of lawful work in a guest, and what is told of its end (MINUTES=60)
#: make check-lab-vmx  only Debian guests on an emulated Intel host
#: make check-lab-text  every place of the text of 6.1 and 5.10, one after the other; not part of check
#: make check-lab-more  only runs on AMD that others cover in parts; not part of check
#: make kmod           build the kernel module (KDIR=/lib/modules/$(uname -r)/build)
#: make run            watch the VMs of this host (root); starts a tiny guest if there is none
#: make fuzz           run the fuzzers for long (SECONDS=600)
#: make install        DESTDIR= PREFIX=/usr/local
#: make install-kmod   the kernel module's source for DKMS, which builds it for each kernel
#: make deb            Debian packages, in build/deb
#: make check-packages only those: both of the next two
#: make check-deb      lintian, built twice alike, installed in a clean root (root)
#: make check-systemd  on a Debian 12 with systemd, a guest attacked, receivers out (root)
#: make bench          measure calls, exits, dumps, latency and the daemon (root, a quiet machine)
#: make bench-lab      calls, requests to the module and exits, on an emulated host
#: make bench-web      a web server in a Linux guest under load, on an emulated host
#: make format, clean, help

# ---- BPF ------------------------------------------------------------------------------------

define compile_bpf
	$(call say,BPF,$<)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) $(DEPFLAGS) -c $< -o $@
	$(Q)llvm-strip -g $@
endef

$(G)/%.bpf.o: bpf/%.bpf.c
	$(compile_bpf)

$(G)/%.bpf.o: tests/native/%.bpf.c
	$(compile_bpf)

$(G)/%.bpf.o: tests/kmod/%.bpf.c
	$(compile_bpf)

$(G)/%.bpf.o: tests/bench/%.bpf.c
	$(compile_bpf)

$(G)/%.skel.h: $(G)/%.bpf.o
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name $*_bpf > $@.tmp && mv $@.tmp $@

# Kept, though only their products are asked for.
.SECONDARY:

# ---- user space -----------------------------------------------------------------------------

$(B)/user/%.o: user/%.c | $(skels)
	$(call say,CC,$<)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPFLAGS) -c $< -o $@

$(B)/libkvmaccess.so.$(VERSION): $(access_objs) user/access/libkvmaccess.map
	$(call say,LD,$@)$(CC) -shared -Wl,-soname,$(SONAME) \
		-Wl,--version-script=user/access/libkvmaccess.map $(LDFLAGS) -o $@ \
		$(access_objs) $(ACCESS_LIBS)

$(lib): $(B)/libkvmaccess.so.$(VERSION)
	$(Q)ln -sf $(<F) $(B)/$(SONAME) && ln -sf $(SONAME) $@

$(B)/libkvmaccess.a: $(access_objs)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $(access_objs)

# The CLI takes the store and the judgement of `kvmbpf baseline` from the monitor.
$(B)/monitor.a: $(monitor_parts)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

$(B)/kvmbpf-monitor: $(B)/user/monitor/main.o $(B)/monitor.a $(lib)
	$(call say,LD,$@)$(CC) $(LDFLAGS) $(RPATH) -o $@ $^ $(MONITOR_LIBS)

$(B)/kvmbpf: $(cli_objs) $(B)/monitor.a $(lib)
	$(call say,LD,$@)$(CC) $(LDFLAGS) $(RPATH) -o $@ $^ $(MONITOR_LIBS) $(CLI_LIBS)

$(B)/vmlinux-check: vmlinux/check.c
	$(call say,CC,$<)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPFLAGS) -MF $@.d $< -o $@ $(LDFLAGS) -lbpf -lelf

# ---- kernel module --------------------------------------------------------------------------
# Built in a copy, one a kernel: build/kmod/6.12/kvmbpf_helper.ko.

KDIR ?= /lib/modules/$(shell uname -r)/build
KMOD_CC ?= gcc
kmod_sources := $(wildcard kmod/*.[ch]) kmod/Kbuild
kmod_headers := include/kvmbpf/helper.h include/kvmbpf/pagewalk.h

.PHONY: kmod
kmod:
	$(Q)$(MAKE) build/kmod/$$(cut -d. -f1,2 $(KDIR)/include/config/kernel.release)/kvmbpf_helper.ko

build/kmod/%/kvmbpf_helper.ko: $(kmod_sources) $(kmod_headers)
	$(call say,KMOD,$@)mkdir -p $(@D)/include/kvmbpf
	$(Q)cp $(kmod_sources) $(@D) && cp $(kmod_headers) $(@D)/include/kvmbpf
	$(Q)$(MAKE) -s -C $(KDIR) M=$(CURDIR)/$(@D) CC=$(KMOD_CC) \
		KVMBPF_VERSION=$(VERSION) modules

# With DESTDIR only the source is put there: what a package would hold.
kmod_dir = $(DESTDIR)/usr/src/kvmbpf-helper-$(VERSION)
.PHONY: install-kmod
install-kmod:
	install -d $(kmod_dir)/include/kvmbpf
	install -m 0644 $(kmod_sources) $(kmod_dir)
	install -m 0644 $(kmod_headers) $(kmod_dir)/include/kvmbpf
	sed 's|@VERSION@|$(VERSION)|' kmod/dkms.conf >$(kmod_dir)/dkms.conf
	[ -n "$(DESTDIR)" ] || dkms install --force kvmbpf-helper/$(VERSION)

# ---- running and installing -----------------------------------------------------------------

.PHONY: demo
demo: deps
	@$(MAKE) -j$(JOBS) all lab >&2
	@tests/lab/demo $(ARGS)

# What the lab boots: a long download, once.
.PHONY: lab
lab:
	$(Q)tests/lab/fetch -q
	$(Q)$(MAKE) -f tests/lab/Makefile

.PHONY: run
run: deps
	@$(MAKE) -j$(JOBS) all $(B)/tests/native/tinyvm
	@scripts/run $(B) $(ARGS)

# Manual pages that are made of the header's comments and of the events' schema, and completions, of
# what the programs say of themselves.
DATE = $(shell date -u -d "$$(sed -n 's/^ -- .*>  //p' debian/changelog | head -n 1)" +%F)

$(B)/man/libkvmaccess.3: include/kvmaccess.h scripts/library-pages debian/changelog
	$(call say,MAN,$(@D))scripts/library-pages $< $(@D) $(VERSION) $(DATE)

$(B)/man/kvmbpf-events.5: share/kvmbpf/event-v1.schema.json man/kvmbpf-events.5.in scripts/event-page
	$(call say,MAN,$@)mkdir -p $(@D)
	$(Q)scripts/event-page $(filter-out scripts/%,$^) $(DATE) >$@.tmp && mv $@.tmp $@

$(B)/completions/bash/kvmbpf: $(B)/kvmbpf $(B)/kvmbpf-monitor scripts/completions
	$(call say,SHELLS,$(B)/completions)LD_LIBRARY_PATH=$(B) \
		scripts/completions $(B)/kvmbpf $(B)/kvmbpf-monitor $(B)/completions

made := $(B)/man/libkvmaccess.3 $(B)/man/kvmbpf-events.5 $(B)/completions/bash/kvmbpf
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d

.PHONY: install
install: all $(made)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(LIBDIR)/pkgconfig \
		$(DESTDIR)$(PREFIX)/include/kvmbpf $(DESTDIR)$(PREFIX)/share/kvmbpf/grafana \
		$(addprefix $(DESTDIR)$(PREFIX)/share/man/man,1 3 5 8) \
		$(addprefix $(DESTDIR),$(BASHDIR) $(ZSHDIR) $(FISHDIR))
	install -m 0755 $(B)/kvmbpf-monitor $(DESTDIR)$(PREFIX)/sbin
	install -m 0755 $(B)/kvmbpf $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(B)/libkvmaccess.so.$(VERSION) $(DESTDIR)$(LIBDIR)
	ln -sf libkvmaccess.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libkvmaccess.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' user/access/libkvmaccess.pc.in | \
		install -m 0644 /dev/stdin $(DESTDIR)$(LIBDIR)/pkgconfig/libkvmaccess.pc
	install -m 0644 include/kvmaccess.h $(DESTDIR)$(PREFIX)/include
	install -m 0644 include/kvmbpf/*.h $(DESTDIR)$(PREFIX)/include/kvmbpf
	install -m 0644 share/kvmbpf/event-v1.schema.json $(DESTDIR)$(PREFIX)/share/kvmbpf
	install -m 0644 share/kvmbpf/grafana/kvmbpf.json $(DESTDIR)$(PREFIX)/share/kvmbpf/grafana
	install -m 0644 man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	cp -P $(B)/man/*.3 $(DESTDIR)$(PREFIX)/share/man/man3
	install -m 0644 man/*.5 $(B)/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 0644 man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 0644 $(B)/completions/bash/* $(DESTDIR)$(BASHDIR)
	install -m 0644 $(B)/completions/zsh/* $(DESTDIR)$(ZSHDIR)
	install -m 0644 $(B)/completions/fish/* $(DESTDIR)$(FISHDIR)
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

# Packages for the Debian that this is, in build/deb. From the tracked files, in a copy.
DEB := build/deb
.PHONY: deb
deb:
	$(Q)scripts/install-packages debian
	$(Q)rm -rf $(DEB) && mkdir -p $(DEB)/kvmbpf-monitor
	$(Q)git ls-files -z | tar -c --null --verbatim-files-from -T - | tar -x -C $(DEB)/kvmbpf-monitor
	$(call say,DEB,$(DEB))cd $(DEB)/kvmbpf-monitor && \
		dpkg-buildpackage -us -uc -b >../build.log 2>&1 || { tail ../build.log; false; }

.PHONY: format
format:
	clang-format -i $$(git ls-files '*.c' '*.h')

# ---- tests ----------------------------------------------------------------------------------
# Every tier leaves TAP files in $(R); tests/tally turns them into the closing line.

R := build/results
TIERS := build unit native fuzz lab-svm lab-vmx tables packages
SECONDS ?= 40
ASAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ := $(ASAN) -fprofile-instr-generate -fcoverage-mapping -fsanitize=fuzzer-no-link
unit_tests := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c))
unit_parts := $(patsubst %.c,$(B)/%.o,$(filter-out tests/unit/test_%.c,$(wildcard tests/unit/*.c)))
native_tests := $(patsubst %.c,$(B)/%,$(wildcard tests/native/test_*.c))
native_parts := $(patsubst %.c,$(B)/%.o,$(filter-out tests/native/test_%.c tests/native/tinyvm_main.c \
					 tests/native/kafka_mock.c %.bpf.c,\
					 $(wildcard tests/native/*.c))) $(B)/tests/native/guest.o
# Not for programs that are no tests.
native_asserting := %/support.o %/sealed.o %/guest_kernel.o
kmod_tests := $(patsubst %.c,$(B)/%,$(wildcard tests/kmod/test_*.c))
kmod_parts := $(B)/tests/kmod/harness.o $(B)/tests/kmod/stores.o $(native_parts)
fuzzers := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))

$(B)/tests/%.o: tests/%.c | $(skels)
	$(call say,CC,$<)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Iuser -Itests $(CFLAGS) $(DEPFLAGS) -c $< -o $@

$(B)/tests/parts.a: $(unit_parts) $(monitor_parts) $(cli_parts)
	$(call say,AR,$@)mkdir -p $(@D) && rm -f $@ && ar rcs $@ $^

$(unit_tests): $(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/tests/parts.a $(B)/libkvmaccess.a
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(ACCESS_LIBS) $(MONITOR_LIBS) \
		$(CLI_LIBS) -lcriterion

$(native_tests): $(B)/tests/native/%: $(B)/tests/native/%.o $(native_parts) $(B)/libkvmaccess.a
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(ACCESS_LIBS) -lcriterion

$(B)/tests/native/test_direct.o: | $(G)/held_memory.skel.h
$(B)/tests/native/test_seal.o: | $(G)/held_seal.skel.h

$(kmod_tests:%=%.o) $(B)/tests/kmod/harness.o: | $(G)/calls.skel.h

$(kmod_tests): $(B)/tests/kmod/%: $(B)/tests/kmod/%.o $(kmod_parts) $(B)/libkvmaccess.a
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(ACCESS_LIBS) -lcriterion

$(fuzzers): $(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(B)/tests/parts.a $(B)/libkvmaccess.a
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(ACCESS_LIBS) \
		$(MONITOR_LIBS) $(CLI_LIBS)

$(B)/tests/%.o: tests/%.S
	$(call say,AS,$<)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(DEPFLAGS) -c $< -o $@

# Tests start the tiny guests' program that lies beside them.
$(B)/tests/kmod/tinyvm: $(B)/tests/native/tinyvm
	$(Q)mkdir -p $(@D) && ln -f $< $@

$(B)/tests/native/tinyvm: $(B)/tests/native/tinyvm_main.o $(filter-out $(native_asserting),\
							   $(native_parts))
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

$(B)/tests/native/kafka_mock: $(B)/tests/native/kafka_mock.o
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lrdkafka

$(B)/tests/lab/text: $(B)/tests/lab/text.o $(B)/libkvmaccess.a
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(ACCESS_LIBS)

.PHONY: unit-tests native-tests kmod-tests lab-tests fuzzers
unit-tests: $(unit_tests)
native-tests: $(native_tests) $(B)/tests/native/tinyvm $(B)/tests/native/kafka_mock
lab-tests: $(B)/tests/lab/text
kmod-tests: $(kmod_tests) $(B)/tests/kmod/tinyvm
fuzzers: $(fuzzers)

.PHONY: check
check: deps
	@rm -rf $(R)
	$(Q)$(MAKE) -j$(JOBS) all
	@mkdir -p $(R)
	@for tier in $(TIERS); do \
		$(MAKE) -k check-$$tier && result=ok || result='not ok'; \
		echo "$$result - make check-$$tier" >$(R)/make-$$tier.tap; \
	done
	@tests/tally $(R)

# Both compilers, without a warning, and what `make install` leaves.
.PHONY: check-build
check-build: all
	$(Q)$(MAKE) -j$(JOBS) B=build/clang CC=$(CLANG) all
	$(Q)tests/install $(R)
	$(Q)$(MAKE) $(B)/completions/bash/kvmbpf
	$(Q)tests/completions $(B) $(R)
	$(Q)tests/lab/fetch -q
	$(Q)tests/kubernetes $(R)

.PHONY: check-unit
check-unit:
	$(Q)tests/lab/fetch -q || true # kernels to read; tests that find none say so
	$(Q)$(MAKE) -j$(JOBS) unit-tests
	$(Q)$(MAKE) -j$(JOBS) B=build/asan SANITIZE='$(ASAN)' unit-tests
	$(Q)tests/run $(R) unit $(unit_tests)
	$(Q)tests/run $(R) unit-asan $(unit_tests:$(B)/%=build/asan/%)

.PHONY: check-native
check-native:
	$(Q)tests/lab/fetch -q
	$(Q)$(MAKE) -j$(JOBS) native-tests
	$(Q)$(MAKE) -j$(JOBS) B=build/asan SANITIZE='$(ASAN)' all native-tests
	$(Q)tests/run $(R) native $(native_tests)
	$(Q)tests/native/check-readme $(B) $(R)
	$(Q)tests/native/check-sinks build/asan $(R)
	$(Q)tests/native/check-privileges $(B) $(R)
	$(Q)tests/native/check-notify $(B) $(R)
	$(Q)tests/native/check-published build/asan $(R)
	$(Q)tests/native/check-formats build/asan $(R)
	$(Q)tests/native/check-top build/asan $(R)
	$(Q)tests/native/check-reload build/asan $(R)
	$(Q)tests/native/check-actions build/asan $(R)
	$(Q)tests/native/check-sentries build/asan $(R)
	$(Q)vmlinux/check-here $(B) $(R)
	$(Q)tests/run $(R) native-asan $(native_tests:$(B)/%=build/asan/%)

.PHONY: check-fuzz fuzz
check-fuzz:
	$(Q)$(MAKE) -j$(JOBS) B=build/fuzz CC=$(CLANG) SANITIZE='$(FUZZ)' fuzzers
	$(Q)tests/fuzz/run build/fuzz/tests/fuzz $(R) $(SECONDS)

fuzz: deps
	$(Q)$(MAKE) check-fuzz SECONDS=$(if $(filter 40,$(SECONDS)),600,$(SECONDS))

.PHONY: check-lab-svm
check-lab-svm: all native-tests kmod-tests lab-tests
	$(Q)tests/lab/check $(R) svm

# Text that is changed in the end is told when its turn comes.
MINUTES ?= 60
.PHONY: soak
soak: all lab
	@tests/lab/run --scenario quiet --symbols reference --timeout $$(($(MINUTES) * 60 + 2400)) \
		--guest-append "kvmbpf.seconds=$$(($(MINUTES) * 60)) kvmbpf.text=360" --out build/lab/soak
	@tests/lab/judge --scenario quiet --min-attacks 4 build/lab/soak

.PHONY: check-lab-text
check-lab-text: all lab-tests
	$(Q)tests/lab/check $(R) text

.PHONY: check-lab-more
check-lab-more: all
	$(Q)tests/lab/check $(R) more

.PHONY: check-lab-vmx
check-lab-vmx: all
	$(Q)tests/lab/check $(R) vmx

# README.md against what the runs of both labs saw.
lab_runs = $(patsubst $(R)/lab-$1-%.tap,build/lab/%,$(wildcard $(R)/lab-$1-*.tap))
.PHONY: check-tables
check-tables:
	$(Q)for table in host technique; do \
		tests/lab/$$table-table README.md $(call lab_runs,svm) $(call lab_runs,vmx) \
			>$(R)/$$table-table.tap || [ -s $(R)/$$table-table.tap ] || \
			echo "not ok - the table $$table has no result" >$(R)/$$table-table.tap; \
		cat $(R)/$$table-table.tap; \
	done

# The packages: in a root without systemd, and in an emulated host with it.
.PHONY: check-packages check-deb check-systemd
check-packages: check-deb check-systemd

check-deb: deb
	$(Q)$(MAKE) -s $(B)/tests/native/tinyvm
	$(Q)tests/deb/check $(R)

check-systemd: deb
	$(Q)tests/lab/fetch -q
	$(Q)$(MAKE) -f tests/lab/Makefile
	$(Q)$(MAKE) -j$(JOBS) $(B)/tests/native/kafka_mock
	$(Q)tests/systemd/check $(R)

# ---- measurements ---------------------------------------------------------------------------

bench_parts := $(patsubst %.c,$(B)/%.o,$(filter-out %.bpf.c,$(wildcard tests/bench/*.c))) \
	       $(filter-out $(native_asserting),$(native_parts))

$(B)/tests/bench/exits.o: | $(G)/exit_cost.skel.h

$(B)/tests/native/bench: $(bench_parts) $(B)/monitor.a $(B)/libkvmaccess.a
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(ACCESS_LIBS) $(MONITOR_LIBS)

# Beside the program of the tiny guests, which it starts. On a machine that does nothing else.
.PHONY: bench
bench: deps
	@$(MAKE) -j$(JOBS) all $(B)/tests/native/tinyvm $(B)/tests/native/bench
	@$(B)/tests/native/bench $(BENCH)

# What needs real exits or the kernel module, beside the same calls.
.PHONY: bench-lab
bench-lab: deps
	@$(MAKE) -j$(JOBS) all lab $(B)/tests/native/tinyvm $(B)/tests/native/bench
	@tests/lab/run --timeout 1200 --out build/lab/bench --command "load_helper && mkdir -p /out/build && \
		cd /out && BENCH_LAB=$$(git rev-parse --short HEAD) /project/build/tests/native/bench calls guest requests" || \
		{ cat build/lab/bench/command.log; exit 1; }
	@cat build/lab/bench/command.log
	@cp build/lab/bench/build/bench.json build/bench-lab.json

# A web server in a Linux guest under load, on an emulated host: some 15 minutes, and more where the
# emulator loses guests or hosts.
.PHONY: bench-web
bench-web: deps
	@$(MAKE) -j$(JOBS) all lab
	@tests/lab/fetch -q web
	@$(MAKE) -f tests/lab/Makefile $(CURDIR)/build/lab/web-6.12.cpio
	@tests/bench/web build/lab/web build/bench-web.json

.PHONY: deps
deps:
	@scripts/install-packages

.PHONY: clean
clean:
	rm -rf $(B)

-include $(shell find $(G) $(B)/user $(B)/tests $(B)/vmlinux-check.d -name '*.d' -type f 2>/dev/null)
