// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A Kafka cluster for tests: librdkafka's own mock, and a consumer of what comes in. Prints its
 * brokers, then "KEY<tab>VALUE" for each message. Commands on stdin: "down", "up"; ends with it.
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BROKERS = 3, PARTITIONS = 4 };

static void die(const char *what, const char *why)
{
	fprintf(stderr, "kafka_mock: %s: %s\n", what, why);
	exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char error[200];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die(name, error);
}

static rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char error[200];
	rd_kafka_t *client = rd_kafka_new(type, conf, error, sizeof(error));

	if (!client)
		die("rd_kafka_new", error);
	return client;
}

static rd_kafka_t *consumer_new(const char *brokers, const char *topic)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *consumer;

	set(conf, "bootstrap.servers", brokers);
	set(conf, "group.id", "test");
	set(conf, "reconnect.backoff.max.ms", "500");
	consumer = client_new(RD_KAFKA_CONSUMER, conf);
	rd_kafka_poll_set_consumer(consumer);
	for (int i = 0; i < PARTITIONS; i++)
		rd_kafka_topic_partition_list_add(list, topic, i)->offset =
			RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(consumer, list);
	rd_kafka_topic_partition_list_destroy(list);
	return consumer;
}

/* False: stdin has ended. */
static bool obey(rd_kafka_mock_cluster_t *cluster)
{
	struct pollfd pollfd = { .fd = STDIN_FILENO, .events = POLLIN };
	char command[64];
	ssize_t n;

	if (poll(&pollfd, 1, 0) <= 0)
		return true;
	n = read(STDIN_FILENO, command, sizeof(command) - 1);
	if (n <= 0)
		return false;
	command[n] = '\0';
	for (int id = 1; id <= BROKERS; id++) {
		if (!strcmp(command, "down\n"))
			rd_kafka_mock_broker_set_down(cluster, id);
		else if (!strcmp(command, "up\n"))
			rd_kafka_mock_broker_set_up(cluster, id);
	}
	return true;
}

int main(int argc, char **argv)
{
	rd_kafka_mock_cluster_t *cluster;
	rd_kafka_t *owner, *consumer;

	if (argc != 2)
		die("usage", "kafka_mock TOPIC");
	setvbuf(stdout, NULL, _IOLBF, 0);
	owner = client_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	cluster = rd_kafka_mock_cluster_new(owner, BROKERS);
	if (!cluster)
		die("mock cluster", "cannot be made");
	rd_kafka_mock_topic_create(cluster, argv[1], PARTITIONS, 1);
	puts(rd_kafka_mock_cluster_bootstraps(cluster));
	consumer = consumer_new(rd_kafka_mock_cluster_bootstraps(cluster), argv[1]);
	while (obey(cluster)) {
		rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);

		if (message && !message->err)
			printf("%.*s\t%.*s\n", (int)message->key_len, (char *)message->key,
			       (int)message->len, (char *)message->payload);
		if (message)
			rd_kafka_message_destroy(message);
	}
	return 0;
}
