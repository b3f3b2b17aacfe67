/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests need to know about the kernel they are built for: drm-misc-next. */
#ifndef _VIRTGPU_KUNIT_BASE_H_
#define _VIRTGPU_KUNIT_BASE_H_

#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/stringify.h>
#include <linux/virtio_gpu.h>

#define VIRTGPU_KUNIT_IMPORT_NS(ns)	MODULE_IMPORT_NS(__stringify(ns))

/* Whether mmap() takes a part of a host blob. */
#define VIRTGPU_KUNIT_PARTIAL_MMAP	1

/* An hrtimer that expires in hard irq context, but for PREEMPT_RT. */
#define virtgpu_kunit_hrtimer_setup(timer, fn) \
	hrtimer_setup(timer, fn, CLOCK_MONOTONIC, HRTIMER_MODE_REL)

#endif
