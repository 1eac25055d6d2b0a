// Sends a packet to its outputs, and makes it again what it was.

#pragma once

#include "counters.h"

INLINE u32 error_column(s64 result)
{
	switch (result) {
	case NET_XMIT_DROP:
	case NET_XMIT_CN: // a queue dropped a packet of this flow; the queue of a device that is down drops each
	case -ENOBUFS:
		return ERROR_ENOBUFS;
	case -ENETDOWN:
		return ERROR_ENETDOWN;
	case -ENOMEM:
		return ERROR_ENOMEM;
	case -EINVAL: // no such ifindex
	case -ENODEV:
		return ERROR_ENODEV;
	default:
		return ERROR_OTHER;
	}
}

// Make the headers that an output sends.
INLINE void make_headers(struct scratch *scratch, const struct output *output, u32 ttl, u16 id)
{
	const struct packet *packet = &scratch->packet;
	struct headers *new = &scratch->headers;
	u16 total = BE16(IP_HEADER + UDP_HEADER + packet->payload);
	u32 sum = output->ip_sum + total + id;

	*new = output->headers;
	new->ip.total = total;
	new->ip.id = id;
	if (output->flags & COPY_DSCP) {
		u8 tos = packet->headers.ip.tos & 0xFC;

		new->ip.tos = tos;
		sum += BE16(tos);
	}
	if (ttl) {
		new->ip.ttl = ttl;
		sum += BE16(ttl << 8);
	}
	new->ip.check = fold(sum) ^ 0xFFFF;
	new->udp.length = packet->headers.udp.length;
	if (packet->checksum == PARTIAL) {
		new->udp.check = fold((u64)packet->sum + output->headers.ip.source + output->headers.ip.destination);
	} else if (packet->checksum == WHOLE) {
		u32 check = fold(packet->sum + output->endpoint_sum) ^ 0xFFFF;

		new->udp.check = check ? check : 0xFFFF;
	}
}

// Write headers without tags and options over those of the packet. Return 0, or an error. The sum that the kernel
// may have begins with the IP header; only then is it written apart.
INLINE long write_headers(struct __sk_buff *skb, const struct packet *packet, const struct headers *headers)
{
	if (!packet->may_be_complete)
		return skb_store_bytes(skb, 0, headers->macs, FRAME_HEADERS, 0);
	long error = skb_store_bytes(skb, 0, headers->macs, sizeof(headers->macs), 0);

	if (error)
		return error;
	return skb_store_bytes(skb, LINK_HEADER, &headers->ip, IP_HEADER + UDP_HEADER, BPF_F_RECOMPUTE_CSUM);
}

// Send the packet to one output, and count what became of it.
FUNCTION int send(struct __sk_buff *skb, struct scratch *scratch, const struct output *output)
{
	struct packet *packet = &scratch->packet;
	u32 column, ttl = 0;
	s64 result;

	if (output->fault) {
		column = output->fault - 1;
		goto fail;
	}
	if (!output->headers.ip.ttl) {
		ttl = packet->headers.ip.ttl;
		if (ttl <= 1)
			return count_third(scratch, output->cell, packet->segments);
		ttl--;
	}
	column = ERROR_EMSGSIZE;
	if (packet->segment > output->mtu)
		goto fail;
	// DF is not set, so the identification must differ from packet to packet (RFC 6864).
	u16 id = count_traffic(scratch, output->cell, packet->segments, packet->payload) + (packet->cpu << 11);

	make_headers(scratch, output, ttl, BE16(id));
	result = write_headers(skb, packet, &scratch->headers);
	if (!result && output->flags & TAKES_PACKET)
		scratch->action = redirect(output->ifindex, 0);
	else if (!result)
		result = clone_redirect(skb, output->ifindex, 0);
	if (result == NET_XMIT_SUCCESS)
		return output->taker ? count_cold(scratch, output->taker, OWN, packet->segments) : 0;
	column = error_column(result);
	count_traffic(scratch, output->cell, -(s64)packet->segments, -(s64)packet->payload);
fail:
	count_send_error(scratch, output->cell, column, packet->segments);
	return 0;
}

// Remove what an output does not send (VLAN tags, IP options, octets behind the datagram), so that the frame
// has nothing but the headers and the payload. Return 0, or an error.
FUNCTION long remove_extras(struct __sk_buff *skb, struct scratch *scratch)
{
	const struct packet *packet = &scratch->packet;
	u32 datagram = packet->network + IP_HEADER + packet->option_octets + UDP_HEADER + packet->payload;
	u32 tail = packet->length - datagram;

	if (tail) {
		u32 kept = tail < MAX_TAIL ? tail : MAX_TAIL;

		CHECK_RANGE(kept, MAX_TAIL, return -EINVAL;)
		if (skb_load_bytes(skb, datagram, scratch->octets, kept))
			return -EINVAL;
		if (skb_change_tail(skb, datagram, 0))
			return -ENOMEM;
	}
	if (packet->has_outer_tag && skb_vlan_pop(skb))
		return -ENOMEM;
	if (packet->nested_count > 0 && skb_vlan_pop(skb))
		return -ENOMEM;
	if (packet->nested_count > 1 && skb_vlan_pop(skb))
		return -ENOMEM;
	if (packet->option_octets)
		return skb_adjust_room(skb, -(int)packet->option_octets, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_NO_CSUM_RESET);
	return 0;
}

INLINE long push_tag(struct __sk_buff *skb, const struct tag *tag)
{
	return skb_vlan_push(skb, tag->protocol, tag->control);
}

// Restore the headers behind the link header, and what `remove_extras` has removed. Return 0, or an error.
FUNCTION long restore_extras(struct __sk_buff *skb, struct scratch *scratch)
{
	const struct packet *packet = &scratch->packet;
	u32 octets = packet->option_octets;
	u32 datagram = LINK_HEADER + IP_HEADER + octets + UDP_HEADER + packet->payload;
	u32 tail = packet->length - datagram - (packet->network - LINK_HEADER);

	if (octets) {
		if (skb_adjust_room(skb, octets, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_NO_CSUM_RESET))
			return -ENOMEM;
		CHECK_RANGE(octets, MAX_OPTIONS, return -EINVAL;)
		if (skb_store_bytes(skb, LINK_HEADER + IP_HEADER, packet->options, octets, BPF_F_RECOMPUTE_CSUM))
			return -ENOMEM;
	}
	octets = packet->option_octets;
	u32 udp = LINK_HEADER + IP_HEADER + octets;

	if (skb_store_bytes(skb, LINK_HEADER, &packet->headers.ip, IP_HEADER, BPF_F_RECOMPUTE_CSUM) ||
	    skb_store_bytes(skb, udp, &packet->headers.udp, UDP_HEADER, BPF_F_RECOMPUTE_CSUM))
		return -ENOMEM;
	if (tail) {
		u32 kept = tail < MAX_TAIL ? tail : MAX_TAIL;

		if (skb_change_tail(skb, datagram + tail, 0))
			return -ENOMEM;
		CHECK_RANGE(kept, MAX_TAIL, return -EINVAL;)
		if (skb_store_bytes(skb, datagram, scratch->octets, kept, BPF_F_RECOMPUTE_CSUM))
			return -ENOMEM;
	}
	if (packet->nested_count > 1 && push_tag(skb, &packet->nested_tags[1]))
		return -ENOMEM;
	if (packet->nested_count > 0 && push_tag(skb, &packet->nested_tags[0]))
		return -ENOMEM;
	if (packet->has_outer_tag && push_tag(skb, &packet->outer_tag))
		return -ENOMEM;
	return 0;
}

// Make the packet what it was. Return 0, or an error.
INLINE long restore(struct __sk_buff *skb, struct scratch *scratch)
{
	const struct headers *headers = &scratch->packet.headers;

	if (!scratch->has_extras)
		return write_headers(skb, &scratch->packet, headers);
	if (skb_store_bytes(skb, 0, headers->macs, sizeof(headers->macs), 0))
		return -ENOMEM;
	return restore_extras(skb, scratch);
}

// Send the packet to the outputs in a chunk. Return the number of the next chunk, 0 if there is none.
// The verifier verifies this function once, not for each chunk, and for any argument (btf.py).
FUNCTION u32 send_chunk(struct __sk_buff *skb, struct scratch *scratch, u32 number)
{
	CHECK_ARGUMENT(scratch)
	scratch->number = number;
	const struct chunk *chunk = map_lookup(&chunks, &scratch->number);

	if (!chunk)
		return 0;
	if (chunk->count > 0)
		send(skb, scratch, &chunk->outputs[0]);
	if (chunk->count > 1)
		send(skb, scratch, &chunk->outputs[1]);
	if (chunk->count > 2)
		send(skb, scratch, &chunk->outputs[2]);
	if (chunk->count > 3)
		send(skb, scratch, &chunk->outputs[3]);
	return chunk->next;
}

INLINE void send_to_all(struct __sk_buff *skb, struct scratch *scratch, const struct flow *flow)
{
	if (flow->count > 0)
		send(skb, scratch, &flow->outputs[0]);
	if (flow->count > 1)
		send(skb, scratch, &flow->outputs[1]);
	u32 next = flow->next;

	REPEAT_16(if (next) next = send_chunk(skb, scratch, next);)
}

// Relay a packet of a flow. Return the action of tc.
FUNCTION int relay(struct __sk_buff *skb, struct scratch *scratch, const struct flow *flow)
{
	const struct packet *packet = &scratch->packet;

	count_relayed(scratch, flow->rule);
	scratch->has_extras = packet->has_outer_tag || packet->option_octets ||
			      packet->length != LINK_HEADER + IP_HEADER + UDP_HEADER + packet->payload;
	if (scratch->has_extras && remove_extras(skb, scratch)) {
		count_send_error(scratch, flow->outputs[0].cell, ERROR_ENOMEM, packet->segments);
		return TC_ACT_SHOT; // the packet is no longer what it was
	}
	scratch->action = TC_ACT_SHOT;
	send_to_all(skb, scratch, flow);
	if (flow->flags & EXCLUSIVE)
		return scratch->action;
	return restore(skb, scratch) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}
