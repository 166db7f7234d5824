/*
 * crc: CRC32C (Castagnoli), the checksum of every record, extent and frame. By ISA-L.
 */
#ifndef ORBIT_BASE_CRC_H
#define ORBIT_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* The CRC32C of @len bytes (RFC 3720 B.4: of "123456789" it is 0xe3069283). */
uint32_t crc32c(const void *data, size_t len);

/* Goes on from @crc, the CRC32C of what came before. */
uint32_t crc32c_more(uint32_t crc, const void *data, size_t len);

#endif
