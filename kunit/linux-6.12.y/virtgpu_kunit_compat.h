/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests use of newer kernels. The Makefile includes it in each file. */
#ifndef _VIRTGPU_KUNIT_COMPAT_H_
#define _VIRTGPU_KUNIT_COMPAT_H_

#include <linux/hrtimer.h>
#include <linux/module.h>

/* The name of a symbol namespace is a token before 6.13, a string since. */
#undef MODULE_IMPORT_NS
#define MODULE_IMPORT_NS(ns)	MODULE_INFO(import_ns, ns)

#define VIRTIO_GPU_F_BLOB_ALIGNMENT	5

/* Since 6.13. */
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*fn)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
}

#endif
