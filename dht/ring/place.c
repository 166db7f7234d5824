/*
 * Weighted rendezvous hashing without floating point.
 *
 * Node n draws for shard s the number h in (0,1) and scores -weight / ln(h); the highest score
 * wins. With L = -log2(h) > 0 (a constant factor from ln) node a beats node b when
 *
 *	weight_a / L_a > weight_b / L_b, that is weight_a * L_b > weight_b * L_a,
 *
 * which 128-bit integers compare exactly. L is fixed point, computed bit by bit by squaring, each
 * step truncated in the same way everywhere. Scores that are equal go to the larger h, then to the
 * smaller ID. As L never grows with h, nodes of equal weight are in the order of h alone: no
 * logarithm is needed then.
 */
#include "dht/ring/place.h"

#include <errno.h>
#include <openssl/evp.h>

#include "dht/ring/ring_int.h"

#define LOG_BITS 48

int place_hash_init(struct place_hash *h)
{
	h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	h->ctx = EVP_MD_CTX_new();
	if (h->md && h->ctx)
		return 0;
	place_hash_fini(h);
	return -ENOMEM;
}

void place_hash_fini(struct place_hash *h)
{
	EVP_MD_free(h->md);
	EVP_MD_CTX_free(h->ctx);
	h->md = h->ctx = NULL;
}

int place_draw(
	struct place_hash *h, const struct orbit_id *node, uint16_t group, uint64_t x[PLACE_GROUP])
{
	uint8_t msg[ORBIT_ID_LEN + 2], digest[32];

	memcpy(msg, node->b, ORBIT_ID_LEN);
	put_be16(msg + ORBIT_ID_LEN, group);
	if (!EVP_DigestInit_ex(h->ctx, h->md, NULL) ||
		!EVP_DigestUpdate(h->ctx, msg, sizeof(msg)) ||
		!EVP_DigestFinal_ex(h->ctx, digest, NULL))
		return -ENOMEM;
	for (unsigned i = 0; i < PLACE_GROUP; i++)
		x[i] = get_be64(digest + 8 * i) | 1;
	return 0;
}

uint64_t place_log(uint64_t x)
{
	unsigned shift = (unsigned)__builtin_clzll(x);
	uint64_t m = x << shift; /* 1.63 fixed point, in [1, 2) */
	uint64_t log = 63 - shift;

	for (int i = 0; i < LOG_BITS; i++) {
		unsigned __int128 sq = (unsigned __int128)m * m; /* 2.126, in [1, 4) */

		if (sq >> 127) {
			m = (uint64_t)(sq >> 64);
			log = log << 1 | 1;
		} else {
			m = (uint64_t)(sq >> 63);
			log <<= 1;
		}
	}
	return (UINT64_C(64) << LOG_BITS) - log;
}

bool place_beats(const struct ring_map *m, unsigned a, uint64_t xa, unsigned b, uint64_t xb)
{
	uint32_t wa = m->nodes[a].weight, wb = m->nodes[b].weight;
	unsigned __int128 sa, sb;

	if (wa != wb) {
		sa = (unsigned __int128)wa * place_log(xb);
		sb = (unsigned __int128)wb * place_log(xa);
		if (sa != sb)
			return sa > sb;
	}
	return xa != xb ? xa > xb : a < b;
}

static bool has(const uint16_t *out, unsigned n, unsigned place)
{
	for (unsigned i = 0; i < n; i++) {
		if (out[i] == place)
			return true;
	}
	return false;
}

/* A node that names no zone is a zone of its own. */
static bool zone_taken(const struct ring_map *m, const uint16_t *cand, const uint16_t *out,
	unsigned n, unsigned place)
{
	const char *zone = m->nodes[cand[place]].zone;

	if (!*zone)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (strncmp(m->nodes[cand[out[i]]].zone, zone, RING_ZONE_MAX) == 0)
			return true;
	}
	return false;
}

unsigned place_choose(const struct ring_map *m, const uint16_t *cand, const uint64_t *x,
	size_t stride, unsigned ncand, uint16_t *out, unsigned want)
{
	bool new_zones = true;
	unsigned n = 0;

	while (n < want) {
		unsigned best = RING_NONE;

		for (unsigned i = 0; i < ncand; i++) {
			if (best != RING_NONE && !place_beats(m, cand[i], x[i * stride], cand[best],
							 x[best * stride]))
				continue;
			if (has(out, n, i) || (new_zones && zone_taken(m, cand, out, n, i)))
				continue;
			best = i;
		}
		if (best != RING_NONE)
			out[n++] = (uint16_t)best;
		else if (new_zones)
			new_zones = false;
		else
			break;
	}
	return n;
}

unsigned place_candidates(const struct ring_map *m, const bool *skip, uint16_t *cand)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->nnodes; i++) {
		if (ring_placeable(&m->nodes[i]) && !(skip && skip[i]))
			cand[n++] = (uint16_t)i;
	}
	return n;
}
