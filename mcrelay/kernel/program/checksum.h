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

FUNCTION u32 add_part(struct __sk_buff *skb, struct scratch *scratch)
{
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

// Find out how the checksum of UDP stands, and what outputs need to compute theirs. Return 0 if it is wrong.
FUNCTION int read_checksum(struct __sk_buff *skb, struct scratch *scratch)
{
	struct packet *packet = &scratch->packet;
	const struct ip *ip = &packet->headers.ip;
	const struct udp *udp = &packet->headers.udp;
	u32 offset = packet->network + IP_HEADER + packet->option_octets;
	u64 pseudo = (u64)udp->length + BE16(IPPROTO_UDP);
	u64 endpoints = sum_endpoints(ip->source, ip->destination, udp->source, udp->destination);
	u16 check = udp->check;

	packet->checksum = WHOLE;
	if (check && csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0) {
		packet->sum = fold((u64)(check ^ 0xFFFF) + (fold(endpoints) ^ 0xFFFF));
		return 1;
	}
	if (check) {
		// No device has verified it. This changes the field only if it has a whole checksum.
		l4_csum_replace(skb, offset + 6, 0, 1, 2);
		if (skb_load_bytes(skb, offset + 6, &scratch->probed, sizeof(scratch->probed)))
			return 0;
		if (scratch->probed == check) {
			packet->checksum = PARTIAL;
			packet->sum = fold(pseudo);
			return 1;
		}
		skb_store_bytes(skb, offset + 6, &udp->check, sizeof(udp->check), 0);
	} else if (skb->gso_size) {
		packet->checksum = NO_CHECKSUM;
		return 1;
	}
	packet->sum = fold(pseudo + udp->length + sum_payload(skb, scratch, offset + UDP_HEADER));
	return !check || fold(packet->sum + endpoints + check) == 0xFFFF;
}
