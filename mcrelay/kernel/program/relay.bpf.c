// The kernel data plane: relays packets at the tc ingress of a device, by the contract of mcrelay/packet/.
//
// `ingress` reads a packet, looks up its flow, and sends one new datagram to each output: it
// rewrites the headers in place, sends a clone, and at the end restores what the packet was, so that the host's
// stack gets it unchanged. `ring_filter` is the packet filter of the workers' rings on the same devices: it
// refuses the packets that `ingress` handles.
//
//     reader.h    reads a frame, and judges it
//     checksum.h  whether the checksum of UDP is right
//     sender.h    sends a packet to its outputs
//     counters.h  counts
//     packet.h    what is read of a packet
//     layout.h    the maps, which layout.py creates; a test compares the two files
//     kernel.h    what is used of the kernel's own headers, so that the compiler needs none of them
//
// Each feature that is used is at least as old as Linux 5.15.

#include "checksum.h"
#include "counters.h"
#include "reader.h"
#include "sender.h"

#ifdef FINGERPRINT
// What the object was made from (packaging/kernel_program.py).
SECTION("fingerprint") const char made_from[] = FINGERPRINT;
#endif

// By these numbers, the loader finds out whether the object is for the maps that it creates (layout.py).
SECTION("layout") const u32 map_layout[] = {
	LAYOUT_VERSION, sizeof(struct flow_key), sizeof(struct output), sizeof(struct flow), sizeof(struct chunk),
	sizeof(struct endpoint), sizeof(struct address_key), sizeof(struct address), SEGMENT_MASK + 1, 1 << COLD_SHIFT,
};

#define NO_SLOT 0xFFFFFFFF

// Return the number of the slot of the packet's flow, from this source or, if it is 0, from any source.
FUNCTION u32 find_slot(struct __sk_buff *skb, struct scratch *scratch, u32 source)
{
	scratch->flow.ifindex = skb->ifindex;
	scratch->flow.destination = scratch->packet.headers.ip.destination;
	scratch->flow.source = source;
	scratch->flow.port = WORD_OF(scratch->packet.headers.udp.destination);
	const u32 *slot = map_lookup(&flows, &scratch->flow);

	return slot ? *slot : NO_SLOT;
}

INLINE int has_key(const struct flow *flow, const struct flow_key *key)
{
	return flow->key.ifindex == key->ifindex && flow->key.destination == key->destination &&
	       flow->key.source == key->source && flow->key.port == key->port;
}

// Set `flow` to the flow of the packet, or run a statement, which returns. An entry that was deleted meanwhile may
// have the slot of another flow by now: then look again.
#define FIND_FLOW(from, otherwise)                                                                 \
	READ_SLOT(from, otherwise)                                                                 \
	if (!has_key(flow, &scratch->flow)) {                                                      \
		READ_SLOT(from, otherwise)                                                         \
		if (!has_key(flow, &scratch->flow)) {                                              \
			otherwise                                                                  \
		}                                                                                  \
	}

#define READ_SLOT(from, otherwise)                                                                 \
	slot = find_slot(skb, scratch, from);                                                      \
	if (slot == NO_SLOT) {                                                                     \
		otherwise                                                                          \
	}                                                                                          \
	scratch->segment = slot >> SEGMENT_SHIFT;                                                  \
	scratch->index = slot & SEGMENT_MASK;                                                      \
	segment = map_lookup(&slots, &scratch->segment);                                           \
	if (!segment) {                                                                            \
		otherwise                                                                          \
	}                                                                                          \
	flow = map_lookup(segment, &scratch->index);                                               \
	if (!flow) {                                                                               \
		otherwise                                                                          \
	}

#define FOUND (1ull << 40)
#define RULE_OF(found) ((u32)(found))
#define FLAGS_OF(found) ((u32)((found) >> 32))

// Return FOUND, the flags and the rule of the packet's address, or 0.
FUNCTION u64 find_address(struct scratch *scratch, u32 ifindex, u32 port)
{
	scratch->address.ifindex = ifindex;
	scratch->address.address = scratch->packet.headers.ip.destination;
	scratch->address.port = WORD_OF(port);
	const struct address *address = map_lookup(&addresses, &scratch->address);

	return address ? FOUND | (u64)address->flags << 32 | address->rule : 0;
}

INLINE int is_group(u32 address)
{
	return (*(const u8 *)&address & 0xF0) == 0xE0;
}

// Whether the packet is counted even if it has no flow, as those in a ring are.
INLINE int is_counted(struct scratch *scratch)
{
	return is_group(scratch->packet.headers.ip.destination) || find_address(scratch, 0, 0) != 0;
}

// Whether an output of the relay sends from the packet's source. Most sources are told by `own_addresses`, which costs
// less: it has the outputs' addresses, hashed.
INLINE int is_own(struct scratch *scratch)
{
	const struct headers *headers = &scratch->packet.headers;

	scratch->number = (u32)(BE32(headers->ip.source) * ADDRESS_FACTOR) >> ADDRESS_SHIFT;
	const u32 *is_possible = map_lookup(&own_addresses, &scratch->number);

	if (!is_possible || !*is_possible)
		return 0;
	scratch->endpoint.address = headers->ip.source;
	scratch->endpoint.port = WORD_OF(headers->udp.source);
	return map_lookup(&own, &scratch->endpoint) != 0;
}

// Tells the two programs that they see the same packet.
INLINE u64 identify(const struct packet *packet)
{
	const struct ip *ip = &packet->headers.ip;

	return (u64)ip->source << 32 ^ (u64)ip->id << 48 ^ ip->destination ^ (u64)packet->length << 16 ^
	       packet->headers.udp.check ^ (u64)packet->headers.udp.source << 24;
}

// Return the column of a fault. The compiler refuses a verdict that is missing here (-Wswitch).
INLINE u32 fault_column(enum verdict verdict)
{
	switch (verdict) {
	case IS_FRAGMENT:
		return FRAGMENT;
	case IS_OVERSIZE:
		return OVERSIZE;
	case IS_MALFORMED:
	case IGNORED: // not counted, as the next two
	case PLAIN:
	case IS_TAGGED:
		break;
	}
	return MALFORMED;
}

FUNCTION int count_fault(struct __sk_buff *skb, struct scratch *scratch, u32 link)
{
	u32 verdict = scratch->packet.verdict;
	u32 rule = RULE_OF(find_address(scratch, skb->ifindex, 0));

	if (verdict != IS_TAGGED)
		return count_cold(scratch, rule ? rule : link, fault_column(verdict), 1);
	count_third(scratch, link, 1);
	return rule ? count_near_miss(scratch, rule, TAGGED, scratch->packet.vlan, 1) : 0;
}

FUNCTION int count_unknown(struct __sk_buff *skb, struct scratch *scratch, u32 link)
{
	u16 port = scratch->packet.headers.udp.destination;
	u32 packets = scratch->packet.segments;
	u32 elsewhere = RULE_OF(find_address(scratch, 0, port));

	count_third(scratch, link, packets);
	if (elsewhere)
		return count_near_miss(scratch, elsewhere, OTHER_DEVICE, skb->ifindex, packets);
	u32 rule = RULE_OF(find_address(scratch, skb->ifindex, 0));

	return rule ? count_near_miss(scratch, rule, OTHER_PORT, BE16(port), packets) : 0;
}

// Count a packet that has a fault or no flow.
FUNCTION int count_other(struct __sk_buff *skb, struct scratch *scratch)
{
	if (!is_counted(scratch))
		return 0;
	scratch->number = skb->ifindex;
	const u32 *found = map_lookup(&links, &scratch->number);

	if (!found)
		return 0;
	u32 link = *found;

	count_traffic(scratch, link, scratch->packet.segments ? scratch->packet.segments : 1, scratch->packet.length);
	if (scratch->packet.verdict == PLAIN)
		return count_unknown(skb, scratch, link);
	return count_fault(skb, scratch, link);
}

// Return how often devices have got the program. While a device has not got it, nobody takes the decisions of
// `ring_filter`; so what was decided in an earlier epoch is about no packet that is still to come.
INLINE u32 read_epoch(struct scratch *scratch)
{
	scratch->number = 0;
	const u32 *epoch = map_lookup(&epochs, &scratch->number);

	return epoch ? *epoch : 0;
}

// Return what `ring_filter` has decided about this packet, just before and on this CPU.
INLINE enum decision take_decision(const struct __sk_buff *skb, struct scratch *scratch)
{
	enum decision decision = scratch->decision;

	if (decision) {
		scratch->decision = UNDECIDED;
		if (scratch->decided != skb->ifindex || scratch->identity != identify(&scratch->packet) ||
		    scratch->epoch != read_epoch(scratch))
			return UNDECIDED;
	}
	return decision;
}

INLINE int handle(struct __sk_buff *skb, struct scratch *scratch)
{
	const struct packet *packet = &scratch->packet;
	u32 verdict = read_received(skb, &scratch->packet);
	const struct flow *flow;
	void *segment;
	u32 slot;

	if (verdict == IGNORED || take_decision(skb, scratch) == RING)
		return TC_ACT_UNSPEC;
	scratch->packet.cpu = get_smp_processor_id();
	scratch->packet.verdict = verdict;
	if (verdict != PLAIN) {
		count_other(skb, scratch);
		return TC_ACT_UNSPEC;
	}
	FIND_FLOW(0, count_other(skb, scratch); return TC_ACT_UNSPEC;)
	count_traffic(scratch, flow->link, packet->segments, packet->length);
	if (!read_checksum(skb, scratch)) {
		count_cold(scratch, flow->rule, MALFORMED, packet->segments);
		return TC_ACT_UNSPEC;
	}
	if (flow->flags & SOURCES) {
		scratch->rule = flow->rule;
		scratch->is_shared = flow->flags & SHARED;
		FIND_FLOW(packet->headers.ip.source,
			  if (!scratch->is_shared)
				  count_cold(scratch, scratch->rule, SOURCE, packet->segments);
			  return TC_ACT_UNSPEC;)
	}
	if (is_own(scratch)) {
		count_cold(scratch, flow->rule, OWN, packet->segments);
		return TC_ACT_UNSPEC;
	}
	return relay(skb, scratch, flow);
}

SECTION("classifier") int ingress(struct __sk_buff *skb)
{
	u32 key = SCRATCH_OF_INGRESS;

	if (skb->pkt_type > PACKET_MULTICAST || is_other(skb))
		return TC_ACT_UNSPEC;
	struct scratch *scratch = map_lookup(&scratches, &key);

	if (!scratch || scratch->is_busy)
		return TC_ACT_UNSPEC;
	scratch->is_busy = 1;
	int action = handle(skb, scratch);

	scratch->is_busy = 0;
	return action;
}

// Whether `ingress` handles the packet, and not the workers.
FUNCTION int is_of_kernel(struct __sk_buff *skb, struct scratch *scratch, u32 verdict)
{
	const struct flow *flow;
	void *segment;
	u32 slot;

	if (verdict != PLAIN)
		return RULE_OF(find_address(scratch, skb->ifindex, 0)) != 0;
	FIND_FLOW(0, return 0;)
	if (flow->flags & SOURCES) {
		scratch->is_shared = flow->flags & SHARED;
		FIND_FLOW(scratch->packet.headers.ip.source, return !scratch->is_shared;)
	}
	return !(flow->flags & LEAVING);
}

// The packet filter of a ring: return how many octets of the packet the ring gets.
SECTION("socket") u32 ring_filter(struct __sk_buff *skb)
{
	u32 key = SCRATCH_OF_RING_FILTER;
	struct scratch *scratch = map_lookup(&scratches, &key);

	if (!scratch || (skb->pkt_type > PACKET_MULTICAST && skb->pkt_type != PACKET_OUTGOING))
		return 0;
	u32 verdict = read_packet(skb, &scratch->packet);

	if (verdict == IGNORED)
		return 0;
	if (skb->pkt_type == PACKET_OUTGOING)
		return FLAGS_OF(find_address(scratch, skb->ifindex, 0)) & TAKES_OUTGOING ? -1 : 0;
	u32 decision = is_of_kernel(skb, scratch, verdict) ? KERNEL : RING;

	if (decision == RING && !is_counted(scratch))
		return 0;
	u64 identity = identify(&scratch->packet);
	u32 epoch = read_epoch(scratch);

	scratch->number = SCRATCH_OF_INGRESS;
	struct scratch *ingress = map_lookup(&scratches, &scratch->number);

	if (!ingress)
		return 0;
	// Several rings of a link may see the packet. One that has taken it has it for good.
	if (ingress->decision == RING && ingress->identity == identity && ingress->decided == skb->ifindex &&
	    ingress->epoch == epoch)
		return decision == RING ? -1 : 0;
	ingress->epoch = epoch;
	ingress->identity = identity;
	ingress->decided = skb->ifindex;
	ingress->decision = decision;
	return decision == RING ? -1 : 0;
}

// Set the counts of a cell to zero; the packet has the cell and the CPU. No process can write these maps.
SECTION("clearing") int clear(struct __sk_buff *skb)
{
	u32 key = SCRATCH_OF_CLEAR, column = 0;
	struct scratch *scratch = map_lookup(&scratches, &key);
	u64 *counts;

	if (!scratch || skb_load_bytes(skb, LINK_HEADER, &scratch->endpoint, sizeof(scratch->endpoint)))
		return 1;
	u32 cell = scratch->endpoint.address;

	scratch->packet.cpu = scratch->endpoint.port;
	WITH_HOT(cell, counts[0] = counts[1] = counts[2] = counts[3] = 0;);
	REPEAT_16(set_cold(scratch, cell, column++, 0);)
	return 0;
}
