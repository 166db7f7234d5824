#include "tools/common/fsid.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dht/base/id.h"

#define NAME_MAX_LEN 255

int fsid_parse(const char *text, uint8_t fsid[16])
{
	size_t len = strlen(text);
	struct orbit_id id;

	if (!len || len > NAME_MAX_LEN)
		return -EINVAL;
	if (len == FSID_HEX - 1 && strspn(text, "0123456789abcdefABCDEF") == len) {
		char twice[ORBIT_ID_HEX];

		snprintf(twice, sizeof(twice), "%s%s", text, text);
		if (orbit_id_parse(twice, &id))
			return -EINVAL;
	} else {
		id = orbit_id_hash(text, len);
	}
	memcpy(fsid, id.b, 16);
	return 0;
}

char *fsid_hex(const uint8_t fsid[16], char out[FSID_HEX])
{
	for (int i = 0; i < 16; i++)
		snprintf(out + 2 * i, 3, "%02x", fsid[i]);
	return out;
}
