/*
 * Aims at disks that are full.
 */
#include "tests/sim/aim.h"

static void small_disks(struct run *r, struct cluster_config *cfg)
{
	cfg->replicas = 1;
	cfg->capacity = (150 + cfg->seed % 250) << 10;
	r->full = true;
	r->think = 20 * ENV_MS;
}

/*
 * There is no room for what has bytes; what has none goes on, so that what is written last is of no
 * use soon, and whatever room can be found is looked for. Then a process ends, or is stopped, and
 * starts on what it has left itself.
 */
static void brim(struct run *r)
{
	struct sim *s = r->c->s;

	for (unsigned i = 0; i < 6 && !r->broken; i++) {
		unsigned n = (unsigned)sim_below(s, r->c->nnodes);

		aim_rest(r, false);
		aim_pass(r, sim_below(s, 60 * ENV_MS));
		aim_rest(r, true);
		aim_pass(r, sim_below(s, 4 * ENV_SEC));
		aim_kill(r, n, DISK_PROCESS);
		aim_pass(r, 50 * ENV_MS);
		aim_start(r, n);
	}
}

const struct aim aim_brim = {.name = "brim", .choose = small_disks, .once = brim};
