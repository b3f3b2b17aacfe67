# SPDX-License-Identifier: GPL-2.0-only
# BASE=   the kernel the series is for, a directory under patches/: linux-6.12.y; for the checks, all
# SET=    for mbox, one set of its stack: 1-fixes
# KERNEL= a kernel tree of your own to take as the base; it is only read
# QEMU=   the QEMU to run
# SUITE=  or the Debian suite to take it from
# ACCEL=  tcg, kvm, or auto, which is kvm for the guests if it works there
one := $(if $(filter command line environment,$(origin BASE)),$(BASE))
base := $(or $(one),linux-6.12.y)
export KERNEL QEMU SUITE ACCEL SIGNOFF

# in the order in which they share what is built
fast := tools series style uapi
usual := $(fast) build carry bisect kunit modules negative kasan faults guest docs
stages := $(usual) fixes stable coverage compilers races long

help:		## this text
	@sed -n 's/:.*\t## /\t/p; s/^# \([A-Z]*=\)/\1/p' Makefile
	@echo 'each stage of the checks, too: $(targets)'

demo:		## show what the series is for on a virtual machine
	@tools/deps --install build demo
	@tools/demo $(base)

hang:		## show there what a full window does, with the series, and (BASE=drm-misc-next) without it
	@tools/deps --install build demo
	@tools/hang $(base)

bench:		## measure there what eager and deferred blobs cost
	@tools/deps --install build demo bench
	@tools/bench $(base)

top:		## show there what gputop sees of eager and deferred blobs (BASE=drm-misc-next)
	@tools/deps --install build demo
	@tools/top $(base)

check-fast:	## check in a minute that the patches are good mails and patches, for all bases unless BASE= is given
	@BASE=$(one) tools/check $(fast)

check:		## check all that can be checked in an hour
	@BASE=$(one) tools/check $(usual)

check-all:	## check all there is, in some hours
	@BASE=$(one) tools/check $(stages)

# each of these stages by itself; "carry" is what the stage of that name checks
targets := $(subst carry,check-carry,$(stages))
$(targets):
	@BASE=$(one) tools/check $(@:check-%=%)

tree:		## make build/tree/BASE, a git tree with one commit per patch and one branch per set, to hack in
	@tools/make-tree $(base)

export:		## write the patches back from build/tree/BASE
	@tools/export $(base)

readme:		## write patches/BASE/README.md, the table of the sets
	@tools/readme $(base)

mbox:		## write each set, or SET, as mails to build/mbox/BASE/SET; SIGNOFF=1 signs them off as you
	@tools/mbox $(base) $(SET)

carry:		## write the stack without its tests to build/carry/BASE, for those who carry it
	@tools/carry $(base)

clean:		## remove build/ and all that is in it
	rm -rf build

.PHONY: help demo hang bench top check-fast check check-all $(targets) tree export readme mbox carry clean
