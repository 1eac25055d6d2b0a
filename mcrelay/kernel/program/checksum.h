// The checksum of UDP: whether that of a packet is right, and what those of the outputs need.

#pragma once

#include "packet.h"

// Add octets of the payload, at most the rest, to its sum. Return how many are left.
INLINE u32 add_to_sum(struct __sk_buff *skb, struct scratch *scratch, u32 octets)
{
	if (skb_load_bytes(skb, scratch->offset, scratch->octets, octets))
		return 0;
	scratch->sum = csum_diff(0, 0, scratch->octets, octets, scratch->sum);
	scratch->offset += octets;
	scratch->rest -= octets;
	return scratch->rest;
}

// The verifier verifies this function once, for any argument (btf.py).
FUNCTION u32 add_part(struct __sk_buff *skb, struct scratch *scratch)
{
	CHECK_ARGUMENT(scratch)
	return add_to_sum(skb, scratch, SUM_OCTETS);
}

// Return the sum of the payload.
FUNCTION u32 sum_payload(struct __sk_buff *skb, struct scratch *scratch, u32 offset)
{
	u32 rest = scratch->rest = scratch->packet.payload;

	scratch->offset = offset;
	scratch->sum = 0;
	REPEAT_64(if (rest >= SUM_OCTETS) rest = add_part(skb, scratch);)
	REPEAT_64(if (rest >= SUM_OCTETS) rest = add_part(skb, scratch);)
	scratch->number = 0;
	rest = scratch->rest & (SUM_OCTETS - 4);
	if (rest) {
		CHECK_RANGE(rest, SUM_OCTETS, return 0;)
		add_to_sum(skb, scratch, rest);
	}
	rest = scratch->rest & 3;
	if (rest) {
		CHECK_RANGE(rest, 3, return 0;)
		skb_load_bytes(skb, scratch->offset, &scratch->number, rest);
	}
	return fold((u64)scratch->sum + scratch->number);
}

INLINE u64 sum_endpoints(u32 source, u32 destination, u16 source_port, u16 port)
{
	return (u64)source + destination + source_port + port;
}

// Whether the checksum of UDP is still to be computed (CHECKSUM_PARTIAL).
FUNCTION int is_partial(struct __sk_buff *skb, struct scratch *scratch)
{
	const struct packet *packet = &scratch->packet;
	const struct udp *udp = &packet->headers.udp;
	u32 offset = packet->network + IP_HEADER + packet->option_octets + UDP_HEADER - sizeof(udp->check);

	// This changes the field only if it has a whole checksum.
	l4_csum_replace(skb, offset, 0, 1, sizeof(udp->check));
	if (offset == FRAME_HEADERS - sizeof(udp->check)) {
		const u8 *frame = (const u8 *)(u64)skb->data;

		if (frame + FRAME_HEADERS <= (const u8 *)(u64)skb->data_end &&
		    *(const u16 *)(frame + FRAME_HEADERS - sizeof(udp->check)) == udp->check)
			return 1;
	}
	if (skb_load_bytes(skb, offset, &scratch->probed, sizeof(scratch->probed)))
		return 0;
	if (scratch->probed == udp->check)
		return 1;
	skb_store_bytes(skb, offset, &udp->check, sizeof(udp->check), 0);
	return 0;
}

// Take what a device has added up (CHECKSUM_COMPLETE): all octets from the IP header on. Return 0 if the kernel
// has no such sum, or the checksum is wrong by it.
INLINE int take_sum_of_device(struct __sk_buff *skb, struct packet *packet, u64 endpoints)
{
	const struct udp *udp = &packet->headers.udp;
	s64 sum = csum_update(skb, 0);

	packet->may_be_complete = sum >= 0;
	if (sum < 0 || !udp->check || packet->length != FRAME_HEADERS + packet->payload)
		return 0;
	u32 ports = fold((u64)udp->source + udp->destination);

	// The IP header adds up to 0 (0xFFFF in this arithmetic).
	packet->sum = fold((u64)udp->length + BE16(IPPROTO_UDP) + sum + (ports ^ 0xFFFF) + (udp->check ^ 0xFFFF));
	return fold(packet->sum + endpoints + udp->check) == 0xFFFF;
}

// Find out the sum that nothing vouches for. Return 0 if the checksum is wrong.
FUNCTION int add_up(struct __sk_buff *skb, struct scratch *scratch)
{
	struct packet *packet = &scratch->packet;
	const struct ip *ip = &packet->headers.ip;
	const struct udp *udp = &packet->headers.udp;
	u64 endpoints = sum_endpoints(ip->source, ip->destination, udp->source, udp->destination);

	if (!udp->check && skb->gso_size) {
		packet->checksum = NO_CHECKSUM;
		packet->may_be_complete = 1;
		return 1;
	}
	if (take_sum_of_device(skb, packet, endpoints))
		return 1;
	u32 payload = sum_payload(skb, scratch, packet->network + IP_HEADER + packet->option_octets + UDP_HEADER);

	packet->sum = fold(2 * (u64)udp->length + BE16(IPPROTO_UDP) + payload);
	return !udp->check || fold(packet->sum + endpoints + udp->check) == 0xFFFF;
}

// Find out how the checksum of UDP stands, and what outputs need to compute theirs. Return 0 if it is wrong.
FUNCTION int read_checksum(struct __sk_buff *skb, struct scratch *scratch)
{
	struct packet *packet = &scratch->packet;
	const struct ip *ip = &packet->headers.ip;
	const struct udp *udp = &packet->headers.udp;
	u32 check = udp->check;

	packet->may_be_complete = 0;
	packet->checksum = WHOLE;
	if (!check)
		return add_up(skb, scratch);
	// If it is still to be computed, the field usually has the sum of the pseudo header.
	u64 pseudo = (u64)udp->length + BE16(IPPROTO_UDP);
	int has_pseudo = fold(pseudo + ip->source + ip->destination) == check, is_ready = 1;

	packet->sum = fold(pseudo);
	if (has_pseudo)
		is_ready = !is_partial(skb, scratch);
	if (is_ready && csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0) {
		u64 endpoints = sum_endpoints(ip->source, ip->destination, udp->source, udp->destination);

		packet->sum = fold((u64)(udp->check ^ 0xFFFF) + (fold(endpoints) ^ 0xFFFF));
		return 1;
	}
	if (!has_pseudo)
		is_ready = !is_partial(skb, scratch);
	if (is_ready)
		return add_up(skb, scratch);
	packet->checksum = PARTIAL;
	return 1;
}
