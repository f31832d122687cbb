/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may stand in a configuration file, for libcyaml. */
#ifndef MONITOR_CONFIG_SCHEMA_H
#define MONITOR_CONFIG_SCHEMA_H

#include <cyaml/cyaml.h>

extern const cyaml_schema_value_t config_sink_schema;
extern const cyaml_schema_value_t config_schema;

#endif
