/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests need to know about the kernel they are built for: 6.12. */
#ifndef _VIRTGPU_KUNIT_BASE_H_
#define _VIRTGPU_KUNIT_BASE_H_

#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/virtio_gpu.h>

/* The name of a symbol namespace is a token before 6.13, a string since. */
#define VIRTGPU_KUNIT_IMPORT_NS(ns)	MODULE_IMPORT_NS(ns)

#ifndef VIRTIO_GPU_F_BLOB_ALIGNMENT
#define VIRTIO_GPU_F_BLOB_ALIGNMENT	5
#endif

/* Whether mmap() takes a part of a host blob. */
#define VIRTGPU_KUNIT_PARTIAL_MMAP	0

/* An hrtimer that expires in hard irq context, but for PREEMPT_RT. */
static inline void virtgpu_kunit_hrtimer_setup(struct hrtimer *timer,
					       enum hrtimer_restart (*fn)(struct hrtimer *))
{
	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer->function = fn;
}

#endif
