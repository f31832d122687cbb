// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "errand.h"

enum { STACK_BYTES = 256 << 10 };

void errand_put(struct errand *errand)
{
	if (atomic_fetch_sub(&errand->owners, 1) > 1)
		return;
	sem_destroy(&errand->over);
	errand->release(errand);
}

static void *go(void *arg)
{
	struct errand *errand = arg;

	errand->run(errand);
	sem_post(&errand->over);
	errand_put(errand);
	return NULL;
}

/* Signals are for the threads that expect them. */
static int thread_start(struct errand *errand)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int err;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attributes, go, errand);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return -err;
}

int errand_start(struct errand *errand, void (*run)(struct errand *errand),
		 void (*release)(struct errand *errand))
{
	int err;

	atomic_init(&errand->owners, 2);
	sem_init(&errand->over, 0, 0);
	errand->run = run;
	errand->release = release;
	err = thread_start(errand);
	if (err)
		atomic_fetch_sub(&errand->owners, 1);
	return err;
}

static struct timespec in_ms(unsigned int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return until;
}

bool errand_wait(struct errand *errand, unsigned int ms)
{
	struct timespec until = in_ms(ms);
	int err;

	do
		err = ms ? sem_clockwait(&errand->over, CLOCK_MONOTONIC, &until)
			 : sem_trywait(&errand->over);
	while (err && errno == EINTR);
	return !err;
}
