/*
 * policy: the user's words for what to do when a node does not answer.
 *
 * Comma separated: "hard", "soft" (both directions), "reads=block|error", "writes=block|error",
 * "resend_count=N", "check_timeout=500ms|5s|2m". Used by mount options and by the xattr
 * POLICY_XATTR of a file.
 */
#ifndef ORBIT_OPS_POLICY_H
#define ORBIT_OPS_POLICY_H

#include "dht/client/orbit.h"

#define POLICY_XATTR "user.orbitfs.policy"
#define POLICY_TEXT_MAX 1024 /* bytes of a policy's text */

/* Changes what @text names in *p, which holds the values to begin with. 0; -EINVAL, *p unchanged
 * and one line in @why (if @len is not 0) that names the offending word. "" changes nothing. */
int policy_parse(const char *text, struct orbit_policy *p, char *why, size_t len);

/* Is @word (up to its '=' or end) one that policy_parse() knows? For a mount's -o options. */
bool policy_knows(const char *word);

/* "500ms", "5s", "2m", "1500" is no time: a number and ms, s or m. 0 or -EINVAL. */
int policy_time(const char *text, uint64_t *ns);

#endif
