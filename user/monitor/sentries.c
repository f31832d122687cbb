// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sentries.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
	/* Fewer rounds are not worth the two calls that they cost. */
	LEAST_ROUNDS = 4,
	WAIT_MAX_TURNS = 64,
};

static struct sentry_post *post_of(struct sentries *sentries, const struct turn *turn)
{
	return &sentries->posts[turn - sentries->schedule->turns];
}

/* ---- what they have seen -------------------------------------------------------------------- */

/* When it was on CLOCK_REALTIME. */
static uint64_t real_of(uint64_t mono_ns)
{
	return clock_real() - (clock_mono() - mono_ns);
}

static void fold(struct sentries *sentries, const struct turn *turn, struct sentry_post *post)
{
	struct ka_sentry_state state;
	uint64_t rounds, looked_ns;

	if (!post->on)
		return;
	ka_sentry_read(post->sentry, &state);
	rounds = state.rounds - post->told.rounds;
	sentries->health->cycles_done += rounds * turn->count;
	sentries->health->cycles_late += (state.late - post->told.late) * turn->count;
	sentries->health->cycles_missed += (state.missed - post->told.missed) * turn->count;
	post->told = state;
	if (!rounds)
		return;
	looked_ns = real_of(state.round_ns);
	for (size_t i = 0; i < turn->count; i++) {
		guest_rest(turn->guests[i], (unsigned int)rounds);
		metrics_rest(sentries->metrics, turn->guests[i], (unsigned int)rounds, looked_ns);
	}
}

void sentries_fold(struct sentries *sentries)
{
	for (int i = 0; i < SCHEDULE_TURNS; i++)
		fold(sentries, &sentries->schedule->turns[i], &sentries->posts[i]);
}

bool sentries_have_all(const struct sentries *sentries)
{
	for (int i = 0; i < SCHEDULE_TURNS; i++)
		if (sentries->schedule->turns[i].count && !sentries->posts[i].on)
			return false;
	return true;
}

/* ---- leaving, and taking back --------------------------------------------------------------- */

static void wait_longer(struct sentry_post *post)
{
	if (post->wait < WAIT_MAX_TURNS)
		post->wait = post->wait * 2 + 1;
	post->left = post->wait;
}

/* For how many turns from now on; 0: not at all. */
static unsigned int may_be_left(const struct turn *turn)
{
	unsigned int rounds = UINT32_MAX;

	if (turn->count > SCHEDULE_TURN_GUESTS)
		return 0;
	for (size_t i = 0; i < turn->count && rounds >= LEAST_ROUNDS; i++) {
		unsigned int of_guest = guest_may_be_left(turn->guests[i]);

		rounds = of_guest < rounds ? of_guest : rounds;
	}
	return turn->count && rounds >= LEAST_ROUNDS ? rounds : 0;
}

static int stand(struct sentries *sentries, struct sentry_post *post, const struct turn *turn,
		 unsigned int rounds)
{
	int r = post->sentry ? 0 : ka_sentry_new(sentries->host, &post->sentry);

	for (size_t i = 0; i < turn->count; i++)
		sentries->vms[i] = turn->guests[i]->vm;
	return r ? r
		 : ka_sentry_stand(post->sentry, sentries->vms, turn->count, turn->due_ns,
				   sentries->schedule->interval_ns, rounds);
}

void sentries_leave(struct sentries *sentries, struct turn *turn)
{
	struct sentry_post *post = post_of(sentries, turn);
	unsigned int rounds;
	int r;

	if (!sentries->host)
		return;
	rounds = may_be_left(turn);
	if (!rounds || (post->left && post->left--))
		return;
	r = stand(sentries, post, turn, rounds);
	if (r == -EOPNOTSUPP)
		sentries->host = NULL;
	if (r) {
		log_debug("%zu VMs are not left to the kernel: %s", turn->count, strerror(-r));
		wait_longer(post);
		return;
	}
	log_debug("%zu VMs are left to the kernel for %u looks", turn->count, rounds);
	post->on = true;
	post->first_ns = turn->due_ns;
	post->told = (struct ka_sentry_state){ 0 };
	turn->due_ns += rounds * sentries->schedule->interval_ns;
}

void sentries_return(struct sentries *sentries, struct turn *turn)
{
	struct sentry_post *post = post_of(sentries, turn);

	if (!post->on)
		return;
	ka_sentry_relieve(post->sentry);
	fold(sentries, turn, post);
	post->on = false;
	/* The first that the kernel has not made: each is made once, or counted as late or missed. */
	turn->due_ns = post->first_ns + (post->told.rounds + post->told.missed) *
						sentries->schedule->interval_ns;
	log_debug("%zu VMs are looked at again, after %" PRIu64 " looks of the kernel", turn->count,
		  post->told.rounds);
	if (post->told.rounds < LEAST_ROUNDS)
		wait_longer(post);
	else
		post->wait = 0;
}

void sentries_return_all(struct sentries *sentries)
{
	for (int i = 0; i < SCHEDULE_TURNS; i++)
		sentries_return(sentries, &sentries->schedule->turns[i]);
}

void sentries_wake(struct sentries *sentries)
{
	struct ka_sentry_state state;

	for (int i = 0; i < SCHEDULE_TURNS; i++) {
		if (!sentries->posts[i].on)
			continue;
		ka_sentry_read(sentries->posts[i].sentry, &state);
		if (!state.stands)
			sentries_return(sentries, &sentries->schedule->turns[i]);
	}
}

void sentries_deinit(struct sentries *sentries)
{
	for (int i = 0; i < SCHEDULE_TURNS; i++)
		ka_sentry_free(sentries->posts[i].sentry);
	memset(sentries, 0, sizeof(*sentries));
}
