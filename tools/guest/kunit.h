/* SPDX-License-Identifier: GPL-2.0-only */
/* The KUnit suites of the driver, by debugfs. */
#ifndef KUNIT_H
#define KUNIT_H

/* Runs all of them, one line each. */
void kunit_run_all(unsigned long round);
/* The results of their last run, one line each. */
void kunit_check_all(unsigned long round);

#endif
