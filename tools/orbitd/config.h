/*
 * config: what orbitd was told by its configuration file and its flags. Keys of the file are the
 * long flags; a flag wins over the file.
 */
#ifndef TOOLS_ORBITD_CONFIG_H
#define TOOLS_ORBITD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dht/base/log.h"

#define CONFIG_DEFAULT_FILE "/etc/orbitfs/orbitd.conf"
#define CONFIG_ADDRS_MAX 4

struct config_addrs {
	char *at[CONFIG_ADDRS_MAX];
	unsigned n;
	bool fresh; /* the next replaces those of the file */
};

struct config {
	char *store;
	struct config_addrs listen;
	struct config_addrs
		advertise; /* where others reach us; if none are given, those of listen */
	struct config_addrs join;
	char *zone;
	uint32_t weight;
	bool witness;
	char *log;
	char *pid;
	enum log_level level;
	bool daemon;
	bool help, version;
};

/* 0; -EINVAL or another errno and one line in @why. */
int config_load(struct config *c, int argc, char **argv, char *why, size_t why_len);
void config_fini(struct config *c);

extern const char config_help[];

#endif
