# SPDX-License-Identifier: GPL-2.0-only
# BASE=   the kernel the series is for: a directory under patches/
# KERNEL= a kernel tree of your own to take as the base; it is only read
# ARCH=   what 'make kunit' runs on: um, x86_64
# QEMU=   the QEMU to run
# ACCEL=  tcg or kvm
all := $(if $(filter command line environment,$(origin BASE)),$(BASE))
each := $(or $(all),$(patsubst patches/%/BASE,%,$(wildcard patches/*/BASE)))
BASE ?= linux-6.12.y
ARCH ?= um x86_64
export KERNEL QEMU ACCEL SIGNOFF

help:		## this text
	@sed -n 's/:.*\t## /\t/p; s/^# \([A-Z]*=\)/\1/p' Makefile

demo:		## show what the series is for on a virtual machine
	@tools/deps --install build demo
	@tools/demo $(BASE)

check:		## check everything, for all bases unless BASE= is given
	@tools/check $(all)

check-series:	## check that the patches apply and agree with what is generated
	@tools/check-series $(BASE)

kunit:		## run the KUnit suites, on ARCH=um and ARCH=x86_64
	@tools/deps --install build kunit
	@set -e; for a in $(ARCH); do tools/kunit $(BASE) $$a; done

negative:	## run them without the series too, where they must fail as the table says; all bases unless BASE= is given
	@tools/deps --install build kunit
	@set -e; for b in $(each); do tools/negative $$b; done

hang:		## show on a virtual machine what a full window does, without the series and with it
	@tools/deps --install build demo
	@tools/hang $(BASE)

tree:		## make build/tree/BASE, a git tree with one commit per patch, to hack in
	@tools/make-tree $(BASE)

export:		## write the patches back from build/tree/BASE
	@tools/export $(BASE)

mbox:		## write the series as mails to build/mbox/BASE; SIGNOFF=1 signs them off as you
	@tools/mbox $(BASE)

clean:		## remove build/ and all that is in it
	rm -rf build

.PHONY: help demo check check-series kunit negative hang tree export mbox clean
