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

// Read the IP options, and the UDP header behind them. Return 0 if the header is longer than the frame, or too short.
FUNCTION int read_options(const struct __sk_buff *skb, struct packet *packet)
{
	u32 words = packet->headers.ip.version_words & 15;

	if (words < 5 || packet->length - packet->network < 4 * words)
		return 0;
	u32 octets = 4 * words - IP_HEADER;

	packet->option_octets = octets;
	__builtin_memset(packet->options, 0, MAX_OPTIONS);
	packet->headers.udp = (struct udp){};
	CHECK_RANGE(octets, MAX_OPTIONS, return 0;)
	if (skb_load_bytes(skb, packet->network + IP_HEADER, packet->options, octets))
		return 0;
	skb_load_bytes(skb, packet->network + IP_HEADER + octets, &packet->headers.udp, UDP_HEADER);
	return 1;
}

// Judge a frame by its headers. The verdict is that of the readers in packet/; a frame that is ignored has no UDP
// header.
FUNCTION u32 judge(const struct __sk_buff *skb, struct packet *packet)
{
	const struct headers *headers = &packet->headers;

	packet->segments = packet->payload = 0;
	if (headers->ip.protocol != IPPROTO_UDP)
		return IGNORED;
	if ((headers->ip.version_words & 15) != 5 && !read_options(skb, packet))
		return packet->vlan ? IS_TAGGED : IS_MALFORMED;
	if (packet->vlan)
		return IS_TAGGED;
	u32 present = packet->length - packet->network;

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

INLINE void begin(const struct __sk_buff *skb, struct packet *packet)
{
	packet->length = skb->len;
	packet->network = LINK_HEADER;
	packet->has_outer_tag = packet->nested_count = packet->vlan = packet->option_octets = 0;
}

// Read any frame, and judge it.
FUNCTION u32 read_packet(const struct __sk_buff *skb, struct packet *packet)
{
	struct headers *headers = &packet->headers;

	begin(skb, packet);
	if (skb_load_bytes(skb, 0, headers->macs, FRAME_HEADERS)) {
		headers->udp = (struct udp){};
		if (skb_load_bytes(skb, 0, headers->macs, LINK_HEADER + IP_HEADER))
			return IGNORED;
	}
	if (headers->ethertype != ETH_P_IP && !is_tag(headers->ethertype))
		return IGNORED;
	if (skb->vlan_present || headers->ethertype != ETH_P_IP) {
		read_tags(skb, packet);
		if (headers->ethertype != ETH_P_IP)
			return IGNORED;
		if (packet->network > LINK_HEADER) {
			headers->udp = (struct udp){};
			if (skb_load_bytes(skb, packet->network, &headers->ip, IP_HEADER))
				return IGNORED;
			skb_load_bytes(skb, packet->network + IP_HEADER, &headers->udp, UDP_HEADER);
		}
	}
	return judge(skb, packet);
}

// The headers behind the first two octets of a frame, which are aligned as the IP header is.
struct words {
	u32 words[(FRAME_HEADERS - 2) / 4];
};

// Judge a frame without tags of which all is as usual. Return 0 if it is not PLAIN, or only `judge` can tell.
INLINE int is_plain(const struct __sk_buff *skb, struct packet *packet)
{
	const struct ip *ip = &packet->headers.ip;
	u32 room = BE16(ip->total) - IP_HEADER, datagram = BE16(packet->headers.udp.length);

	if (ip->version_words != 0x45 || ip->fragment & BE16(0x3FFF) || skb->gso_size ||
	    room > packet->length - LINK_HEADER - IP_HEADER || datagram > room || datagram < UDP_HEADER ||
	    sum_header(ip) != 0xFFFF)
		return 0;
	packet->segments = 1;
	packet->segment = datagram + IP_HEADER;
	packet->payload = datagram - UDP_HEADER;
	return 1;
}

// Do what `read_packet` does, with few calls if the headers lie in one piece. Only programs of tc can do this.
INLINE u32 read_received(const struct __sk_buff *skb, struct packet *packet)
{
	const u8 *frame = (const u8 *)(u64)skb->data;
	struct headers *headers = &packet->headers;

	if (frame + FRAME_HEADERS > (const u8 *)(u64)skb->data_end || skb->vlan_present ||
	    *(const u16 *)(frame + LINK_HEADER - 2) != ETH_P_IP || frame[LINK_HEADER + 9] != IPPROTO_UDP)
		return read_packet(skb, packet);
	*(u16 *)headers->macs = *(const u16 *)frame;
	*(struct words *)(headers->macs + 2) = *(const struct words *)(frame + 2);
	begin(skb, packet);
	return is_plain(skb, packet) ? PLAIN : judge(skb, packet);
}

// Whether a frame is certainly nothing that a program handles. The usual frame of another protocol costs no more.
INLINE int is_other(const struct __sk_buff *skb)
{
	const u8 *frame = (const u8 *)(u64)skb->data;

	if (frame + FRAME_HEADERS > (const u8 *)(u64)skb->data_end)
		return 0;
	u16 ethertype = *(const u16 *)(frame + LINK_HEADER - 2);

	if (ethertype == ETH_P_IP)
		return frame[LINK_HEADER + 9] != IPPROTO_UDP;
	return !is_tag(ethertype);
}
