// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the KUnit suites of the driver, which the kernel has built in, again and again.
 *
 * Settings: ROUNDS (10).
 */
#include "guest.h"
#include "kunit.h"

int main(void)
{
	unsigned long rounds, round;

	guest_start();
	rounds = setting("ROUNDS", 10);
	for (round = 1; round <= rounds; round++)
		kunit_run_all(round);
	guest_end();
}
