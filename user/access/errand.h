/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call into the kernel that may not return, made by a thread that can be left behind.
 *
 * Some waits end for no signal but a deadly one: for a page that a VMM is to bring, for a file
 * system in user space that hangs. Who must go on sends a thread, waits for a while, and asks again
 * later.
 */
#ifndef KVMACCESS_ERRAND_H
#define KVMACCESS_ERRAND_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

/* At the start of what is allocated for one; what it needs and brings back is all in there. */
struct errand {
	atomic_int owners; /* its thread and who sent it: the last of both frees it */
	sem_t over;
	void (*run)(struct errand *errand);
	void (*release)(struct errand *errand); /* frees what it holds, and itself */
};

/*
 * Begins it. It belongs to the caller, who gives it up with errand_put(), also after a failure.
 * Errors: -EAGAIN, no thread to be had.
 */
int errand_start(struct errand *errand, void (*run)(struct errand *errand),
		 void (*release)(struct errand *errand));
/* Waits up to so many milliseconds, 0: not at all. true: it is over, which is told once. */
bool errand_wait(struct errand *errand, unsigned int ms);
void errand_put(struct errand *errand);

#endif
