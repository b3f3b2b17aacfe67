// SPDX-License-Identifier: GPL-2.0

#include <linux/module.h>

MODULE_DESCRIPTION("KUnit tests for virtio-gpu");
MODULE_LICENSE("GPL");
MODULE_SOFTDEP("pre: virtio-gpu");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
