// Counts in cells.
//
// A lookup that may find nothing stands where its result is used, and functions return numbers only. Without
// CAP_PERFMON, older kernels refuse an access by a pointer that was 0 on some way to it, even behind a comparison:
// they follow what a CPU might do speculatively. For the same reason, no address is computed from a number: each
// cold count has an entry of its own.

#pragma once

#include "packet.h"

// Run a statement with `name`, the entry of a segment, if it is there.
#define WITH_ENTRY(map, which, position, name, statement)                                          \
	do {                                                                                       \
		scratch->segment = (which);                                                        \
		scratch->index = (position);                                                       \
		void *segment = map_lookup(&map, &scratch->segment);                               \
		if (segment) {                                                                     \
			name = map_lookup(segment, &scratch->index);                               \
			if (name) {                                                                \
				statement                                                          \
			}                                                                          \
		}                                                                                  \
	} while (0)

#define WITH_HOT(cell, statement)                                                                  \
	WITH_ENTRY(hot, (cell) >> SEGMENT_SHIFT,                                                   \
		   (scratch->packet.cpu << SEGMENT_SHIFT) + ((cell) & SEGMENT_MASK), counts, statement)

#define WITH_COLD(cell, column, statement)                                                         \
	WITH_ENTRY(cold, (cell) >> SEGMENT_SHIFT, (((cell) & SEGMENT_MASK) << COLD_SHIFT) + (column), counts, statement)

// Add packets, and octets, and return how many packets were counted before.
FUNCTION u32 count_traffic(struct scratch *scratch, u32 cell, s64 packets, s64 octets)
{
	u64 *counts, before;

	WITH_HOT(cell, {
		before = counts[PACKETS];
		counts[PACKETS] = before + packets;
		counts[OCTETS] += octets;
		return before;
	});
	return 0;
}

// Count packets of a link without a rule, or packets of an output whose TTL is used up.
FUNCTION int count_third(struct scratch *scratch, u32 cell, u32 packets)
{
	u64 *counts;

	WITH_HOT(cell, counts[HOT_2] += packets;);
	return 0;
}

// Count a packet of a rule. The time of the kernel changes with its ticks (`jiffies`), and is asked for as often.
FUNCTION int count_relayed(struct scratch *scratch, u32 rule)
{
	const struct packet *packet = &scratch->packet;
	u64 *counts, tick = jiffies();

	if (scratch->tick != tick) {
		scratch->tick = tick;
		scratch->time = ktime_get_coarse_ns();
	}

	WITH_HOT(rule, {
		counts[PACKETS] += packet->segments;
		counts[OCTETS] += packet->payload;
		counts[RULE_LAST_TIME] = scratch->time;
		counts[RULE_LAST_SOURCE] = packet->headers.ip.source;
	});
	return 0;
}

FUNCTION int count_cold(struct scratch *scratch, u32 cell, u32 column, u32 count)
{
	u64 *counts;

	WITH_COLD(cell, column, __sync_fetch_and_add(counts, count););
	return 0;
}

FUNCTION int set_cold(struct scratch *scratch, u32 cell, u32 column, u64 value)
{
	u64 *counts;

	WITH_COLD(cell, column, *counts = value;);
	return 0;
}

// Run a statement with `counts`, another cold count of the cell that was looked up last.
#define WITH_OTHER_COLD(column, statement)                                                         \
	scratch->index = (scratch->index & ~(COLD_COLUMNS - 1)) + (column);                        \
	counts = map_lookup(segment, &scratch->index);                                             \
	if (counts) {                                                                              \
		statement                                                                          \
	}

FUNCTION int count_send_error(struct scratch *scratch, u32 cell, u32 column, u32 count)
{
	u64 *counts;

	scratch->number = column;
	WITH_COLD(cell, column, {
		__sync_fetch_and_add(counts, count);
		WITH_OTHER_COLD(LAST_ERROR_TIME, *counts = ktime_get_coarse_ns();)
		WITH_OTHER_COLD(LAST_ERROR, *counts = scratch->number;)
	});
	return 0;
}

FUNCTION int count_near_miss(struct scratch *scratch, u32 cell, u32 column, u32 detail, u32 count)
{
	set_cold(scratch, cell, column, ktime_get_coarse_ns());
	set_cold(scratch, cell, column + 1, detail);
	count_cold(scratch, cell, column + 2, count);
	return 0;
}
