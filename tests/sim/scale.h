/* scale: figures about big clusters. */
#ifndef ORBIT_SIM_SCALE_H
#define ORBIT_SIM_SCALE_H

/* Prints them. 0, or what ring_make() says. */
int scale_run(unsigned nodes, unsigned shard_bits, unsigned replicas);

#endif
