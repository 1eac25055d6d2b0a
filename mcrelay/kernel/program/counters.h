// Counts in cells.

#pragma once

#include "packet.h"

INLINE void *find_in_segment(struct scratch *scratch, const void *map, u32 segment, u32 index)
{
	scratch->segment = segment;
	scratch->index = index;
	void *found = map_lookup(map, &scratch->segment);

	return found ? map_lookup(found, &scratch->index) : 0;
}

INLINE u64 *find_hot(struct scratch *scratch, u32 cell)
{
	u32 index = (scratch->packet.cpu << SEGMENT_SHIFT) + (cell & SEGMENT_MASK);

	return find_in_segment(scratch, &hot, cell >> SEGMENT_SHIFT, index);
}

// Each count has an entry of its own, because no address may be computed from a number: without CAP_PERFMON,
// the verifier refuses that if several ways lead to it (Spectre).
FUNCTION u64 *find_cold(struct scratch *scratch, u32 cell, u32 column)
{
	u32 index = ((cell & SEGMENT_MASK) << COLD_SHIFT) + column;

	return find_in_segment(scratch, &cold, cell >> SEGMENT_SHIFT, index);
}

INLINE void add_traffic(u64 *counts, u64 packets, u64 octets)
{
	counts[PACKETS] += packets;
	counts[OCTETS] += octets;
}

INLINE void count_cold(struct scratch *scratch, u32 cell, u32 column, u32 count)
{
	u64 *found = find_cold(scratch, cell, column);

	if (found)
		__sync_fetch_and_add(found, count);
}

INLINE void set_cold(struct scratch *scratch, u32 cell, u32 column, u64 value)
{
	u64 *found = find_cold(scratch, cell, column);

	if (found)
		*found = value;
}

FUNCTION int count_send_error(struct scratch *scratch, u32 cell, u32 column, u32 count)
{
	count_cold(scratch, cell, column, count);
	set_cold(scratch, cell, LAST_ERROR_TIME, ktime_get_coarse_ns());
	set_cold(scratch, cell, LAST_ERROR, column);
	return 0;
}

FUNCTION int count_near_miss(struct scratch *scratch, u32 cell, u32 column, u32 detail, u32 count)
{
	set_cold(scratch, cell, column, ktime_get_coarse_ns());
	set_cold(scratch, cell, column + 1, detail);
	count_cold(scratch, cell, column + 2, count);
	return 0;
}
