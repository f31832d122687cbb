// SPDX-License-Identifier: LGPL-2.1-or-later
/* Produces to Kafka with librdkafka, idempotently, keyed by VM: one VM's events stay in order. */
#include "sinks.h"

#include "../cleanup.h"
#include "../log.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { WINDOW = 1024 };

struct kafka_sink {
	struct sink sink;
	const struct config_kafka *config;
	rd_kafka_t *producer;
	rd_kafka_queue_t *queue;
	int fd;			      /* written to when the producer has something to tell */
	char failure[SINK_ERROR_MAX]; /* told by a callback, in which it cannot be ended */
	sd_event_source *io;
	/* To end a producer takes as long as its threads do: not on the loop's time. */
	pthread_t ending;
	bool is_ending;
};

static struct kafka_sink *of(struct sink *sink)
{
	return (struct kafka_sink *)sink;
}

/* ---- what the producer tells, from rd_kafka_poll() ----------------------------------------- */

static void failure_set(struct kafka_sink *sink, const char *reason)
{
	snprintf(sink->failure, sizeof(sink->failure), "%s", reason);
}

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *ctx)
{
	uint64_t position = (uint64_t)(uintptr_t)message->_private;
	struct kafka_sink *sink = ctx;

	(void)producer;
	if (!message->err)
		sink_delivered(&sink->sink, position);
	else if (message->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
		sink_rejected(&sink->sink, position, rd_kafka_err2str(message->err));
	else
		failure_set(sink, rd_kafka_err2str(message->err));
}

static void on_error(rd_kafka_t *producer, int err, const char *reason, void *ctx)
{
	struct kafka_sink *sink = ctx;

	(void)producer;
	if (err == RD_KAFKA_RESP_ERR__FATAL)
		failure_set(sink, reason);
	else /* it goes on by itself */
		sink_troubled(&sink->sink, "%s", reason);
}

/* From the producer's own threads. */
static void on_log(const rd_kafka_t *producer, int level, const char *facility, const char *text)
{
	(void)producer, (void)level;
	log_debug("librdkafka: %s: %s", facility, text);
}

static int on_queue(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	struct kafka_sink *sink = ctx;
	uint64_t count;

	(void)source, (void)revents;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	while (rd_kafka_poll(sink->producer, 0) > 0)
		;
	if (sink->failure[0])
		sink_failed(&sink->sink, "%s", sink->failure);
	else
		sink_ready(&sink->sink);
	return 0;
}

/* ---- setting up ---------------------------------------------------------------------------- */

static int property_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error,
			size_t size)
{
	return rd_kafka_conf_set(conf, name, value, error, size) == RD_KAFKA_CONF_OK ? 0 : -EINVAL;
}

static int properties_set(const struct config_kafka *config, rd_kafka_conf_t *conf, char *error,
			  size_t size)
{
	int r = property_set(conf, "bootstrap.servers", config->brokers, error, size);

	if (!r)
		r = property_set(conf, "enable.idempotence", "true", error, size);
	/* The spool has what it takes to wait; a message that is given up would come again. */
	if (!r)
		r = property_set(conf, "message.timeout.ms", "0", error, size);
	for (unsigned int i = 0; !r && i < config->properties.count; i++) {
		_cleanup_free_ char *name = strdup(config->properties.items[i]);
		char *value = name ? strchr(name, '=') : NULL;

		if (!value)
			return -ENOMEM;
		*value++ = '\0';
		r = property_set(conf, name, value, error, size);
	}
	return r;
}

static int producer_new(struct kafka_sink *sink, char *error, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	int r = properties_set(sink->config, conf, error, size);

	rd_kafka_conf_set_opaque(conf, sink);
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_conf_set_error_cb(conf, on_error);
	rd_kafka_conf_set_log_cb(conf, on_log);
	if (!r) {
		sink->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, size);
		r = sink->producer ? 0 : -EINVAL;
	}
	if (r < 0)
		rd_kafka_conf_destroy(conf);
	return r;
}

/* Of one that was ended: has it? */
static int ended(struct kafka_sink *sink)
{
	if (sink->is_ending && pthread_tryjoin_np(sink->ending, NULL))
		return -EBUSY;
	sink->is_ending = false;
	return 0;
}

static int open_sink(struct sink *base)
{
	static const uint64_t one = 1;
	struct kafka_sink *sink = of(base);
	char error[SINK_ERROR_MAX] = "";
	int r = ended(sink);

	if (r < 0)
		return r;
	r = producer_new(sink, error, sizeof(error));
	if (r < 0) {
		sink_failed(base, "%s", error[0] ? error : strerror(-r));
		return 0;
	}
	sink->failure[0] = '\0';
	sink->queue = rd_kafka_queue_get_main(sink->producer);
	sink->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sink->fd < 0)
		return -errno;
	rd_kafka_queue_io_event_enable(sink->queue, sink->fd, &one, sizeof(one));
	r = sd_event_add_io(base->event, &sink->io, sink->fd, EPOLLIN, on_queue, sink);
	if (r < 0)
		return r;
	sink_opened(base);
	return 0;
}

/* ---- the sink ------------------------------------------------------------------------------ */

static int send_line(struct sink *base, const struct sink_line *line)
{
	const char *key = json_text(line->event, "vm", "id");
	struct kafka_sink *sink = of(base);
	rd_kafka_resp_err_t err;

	key = key ? key : json_text(line->event, "host", "id");
	err = rd_kafka_producev(sink->producer, RD_KAFKA_V_TOPIC(sink->config->topic),
				RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
				RD_KAFKA_V_KEY(key, key ? strlen(key) : 0),
				RD_KAFKA_V_VALUE((void *)line->text, line->len - 1),
				RD_KAFKA_V_OPAQUE((void *)(uintptr_t)line->position),
				RD_KAFKA_V_END);
	switch (err) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		return 0;
	case RD_KAFKA_RESP_ERR__QUEUE_FULL:
		return -EAGAIN;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		sink_rejected(base, line->position, rd_kafka_err2str(err));
		return 0;
	default:
		sink_failed(base, "%s", rd_kafka_err2str(err));
		return -EIO;
	}
}

static void *end_producer(void *producer)
{
	rd_kafka_destroy(producer);
	return NULL;
}

static void close_sink(struct sink *base)
{
	struct kafka_sink *sink = of(base);

	sink->io = sd_event_source_disable_unref(sink->io);
	if (sink->queue) {
		rd_kafka_queue_io_event_enable(sink->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(sink->queue);
	}
	sink->queue = NULL;
	if (sink->fd >= 0)
		close(sink->fd);
	sink->fd = -1;
	if (sink->producer)
		sink->is_ending =
			!pthread_create(&sink->ending, NULL, end_producer, sink->producer);
	sink->producer = NULL;
}

static void free_sink(struct sink *base)
{
	struct kafka_sink *sink = of(base);

	if (sink->is_ending)
		pthread_join(sink->ending, NULL);
	free(sink);
}

static const struct sink_ops ops = {
	.open = open_sink,
	.send = send_line,
	.close = close_sink,
	.free = free_sink,
	.window = WINDOW,
};

int sink_kafka_new(const struct config_kafka *config, struct sink **ret_sink)
{
	struct kafka_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return -ENOMEM;
	sink->sink.ops = &ops;
	sink->sink.lasting = true;
	sink->config = config;
	sink->fd = -1;
	*ret_sink = &sink->sink;
	return 0;
}
