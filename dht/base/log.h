/*
 * log: one line per event, in logfmt: ts=... lvl=warn mod=client txn=91ab try=2 msg="resend".
 *
 * Lines go to stderr until log_open() names another place. Log once, where the error is handled.
 * The format after the level is printf's and should yield key=value pairs, msg="..." last. Usable
 * from any thread (a line is one write(2)).
 */
#ifndef ORBIT_BASE_LOG_H
#define ORBIT_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

/* What is above @level is dropped; the default is LOG_LVL_INFO. */
void log_set_level(enum log_level level);

/* 0, or -EINVAL when @name is none of error, warn, info, debug. */
int log_parse_level(const char *name, enum log_level *level);

/* Sends lines to the file @path (appended, made 0644 if need be); 0 or -errno. */
int log_open(const char *path);

/* Sends lines to syslog(3) under @ident, for a daemon without a log file. */
void log_syslog(const char *ident);

/* The time stamp of the lines: ns since 1970; the simulator puts its own clock here. NULL: none. */
void log_set_clock(uint64_t (*wall)(void *arg), void *arg);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LVL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LVL_DEBUG, __VA_ARGS__)

/* "ETIMEDOUT" for -ETIMEDOUT or ETIMEDOUT; "0" for 0. */
const char *log_errno(int rc);

#endif
