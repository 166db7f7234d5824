/* fsid: which filesystem a store belongs to, as people write it. */
#ifndef TOOLS_COMMON_FSID_H
#define TOOLS_COMMON_FSID_H

#include <stdint.h>

#define FSID_HEX 33 /* characters of fsid_hex() with the NUL */

/* 32 hex digits are taken as they are; any other text is a name, and its hash is the identity. 0;
 * -EINVAL for an empty or overlong text. */
int fsid_parse(const char *text, uint8_t fsid[16]);

char *fsid_hex(const uint8_t fsid[16], char out[FSID_HEX]);

#endif
