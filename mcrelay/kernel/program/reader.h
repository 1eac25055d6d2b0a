// Reads a frame, and judges it by the contract of mcrelay/packet/.

#pragma once

#include "packet.h"

INLINE int is_tag(u16 ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD;
}

INLINE int read_nested_tag(const struct __sk_buff *skb, struct packet *packet, struct tag *tag)
{
	u16 words[2], ethertype = packet->headers.ethertype;

	if (!is_tag(ethertype) || skb_load_bytes(skb, packet->network, words, sizeof(words)))
		return 0;
	*tag = (struct tag){ethertype, BE16(words[0])};
	packet->nested_count++;
	packet->vlan = packet->vlan ? packet->vlan : BE16(words[0]) & VLAN_NUMBER;
	packet->headers.ethertype = words[1];
	packet->network += sizeof(words);
	return 1;
}

// Read the VLAN tags. The kernel has removed the outermost one; the others stand before the IP header.
INLINE void read_tags(const struct __sk_buff *skb, struct packet *packet)
{
	packet->vlan = 0;
	if (skb->vlan_present) {
		packet->outer_tag = (struct tag){skb->vlan_proto, skb->vlan_tci};
		packet->has_outer_tag = 1;
		packet->vlan = skb->vlan_tci & VLAN_NUMBER;
	}
	if (read_nested_tag(skb, packet, &packet->nested_tags[0]))
		read_nested_tag(skb, packet, &packet->nested_tags[1]);
}

INLINE int is_bad_header(const struct packet *packet, u32 present)
{
	const struct ip *ip = &packet->headers.ip;
	u32 header = IP_HEADER + packet->option_octets, total = BE16(ip->total);
	u64 sum = sum_header(ip);

	if (ip->version_words >> 4 != 4 || header < IP_HEADER || total < header || total > present)
		return 1;
	if (packet->option_octets) {
		const u32 *options = packet->options;

		sum += (u64)options[0] + options[1] + options[2] + options[3] + options[4];
		sum += (u64)options[5] + options[6] + options[7] + options[8] + options[9];
	}
	return fold(sum) != 0xFFFF;
}

// Read a frame. The verdict is that of the readers in packet/; a frame that is ignored has no UDP header, or is
// for another host.
FUNCTION u32 read_packet(const struct __sk_buff *skb, struct packet *packet)
{
	struct headers *headers = &packet->headers;
	u32 udp = LINK_HEADER + IP_HEADER;

	packet->length = skb->len;
	packet->network = LINK_HEADER;
	packet->has_outer_tag = packet->nested_count = packet->vlan = packet->option_octets = 0;
	packet->segments = packet->payload = 0;
	if (skb_load_bytes(skb, 0, headers->macs, FRAME_HEADERS)) {
		headers->udp = (struct udp){};
		if (skb_load_bytes(skb, 0, headers->macs, LINK_HEADER + IP_HEADER))
			return IGNORED;
	}
	if (skb->vlan_present || headers->ethertype != ETH_P_IP) {
		if (headers->ethertype != ETH_P_IP && !is_tag(headers->ethertype))
			return IGNORED;
		read_tags(skb, packet);
		if (headers->ethertype != ETH_P_IP)
			return IGNORED;
		if (packet->network > LINK_HEADER) {
			headers->udp = (struct udp){};
			if (skb_load_bytes(skb, packet->network, &headers->ip, IP_HEADER))
				return IGNORED;
			skb_load_bytes(skb, packet->network + IP_HEADER, &headers->udp, UDP_HEADER);
		}
		udp = packet->network + IP_HEADER;
	}
	if (headers->ip.protocol != IPPROTO_UDP)
		return IGNORED;

	u32 present = packet->length - packet->network;
	u32 words = headers->ip.version_words & 15;

	if (words != 5) {
		if (words < 5 || present < 4 * words)
			return packet->vlan ? IS_TAGGED : IS_MALFORMED;
		u32 octets = 4 * words - IP_HEADER;

		packet->option_octets = octets;
		__builtin_memset(packet->options, 0, MAX_OPTIONS);
		headers->udp = (struct udp){};
		CHECK_RANGE(octets, MAX_OPTIONS, return IGNORED;)
		if (skb_load_bytes(skb, udp, packet->options, octets))
			return packet->vlan ? IS_TAGGED : IS_MALFORMED;
		skb_load_bytes(skb, udp + octets, &headers->udp, UDP_HEADER);
	}
	if (packet->vlan)
		return IS_TAGGED;
	if (is_bad_header(packet, present))
		return IS_MALFORMED;

	u32 datagram = BE16(headers->udp.length);
	u32 room = BE16(headers->ip.total) - IP_HEADER - packet->option_octets;

	packet->segments = 1;
	packet->segment = datagram + IP_HEADER;
	if (skb->gso_size) {
		// What is relayed whole has nothing to remove, so that the kernel can cut it later.
		if (packet->option_octets || datagram != room || room != present - IP_HEADER)
			return IS_OVERSIZE;
		packet->segment = skb->gso_size + IP_HEADER + UDP_HEADER;
		packet->segments = skb->gso_segs;
		if (!packet->segments)
			packet->segments = (datagram - UDP_HEADER + skb->gso_size - 1) / skb->gso_size;
	}
	if (headers->ip.fragment & BE16(0x3FFF))
		return IS_FRAGMENT;
	if (datagram < UDP_HEADER || datagram > room)
		return IS_MALFORMED;
	packet->payload = datagram - UDP_HEADER;
	return PLAIN;
}
