// The kernel data plane: relays packets at the tc ingress of a device, by the contract of mcrelay/packet/.
//
// Two programs. `ingress` reads a packet, looks up its flow, and sends one new datagram to each output: it
// rewrites the headers in place, sends a clone, and at the end restores what the packet was, so that the host's
// stack gets it unchanged. `ring_filter` is the packet filter of the workers' rings on the same devices: it
// refuses the packets that `ingress` handles.
//
// The maps and their layouts are those of layout.py, which creates them; a test compares the two files. Nothing
// is included, so that the compiler needs no header of any kernel. Each feature is at least as old as Linux 5.15.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define FUNCTION static __attribute__((noinline))

// Loops are written out: without CAP_PERFMON, the verifier takes each loop for an endless one, because it also
// follows what a CPU might do speculatively.
#define REPEAT_4(x) x x x x
#define REPEAT_16(x) REPEAT_4(x) REPEAT_4(x) REPEAT_4(x) REPEAT_4(x)
#define REPEAT_64(x) REPEAT_16(x) REPEAT_16(x) REPEAT_16(x) REPEAT_16(x)

// Keeps the compiler from leaving out a check of `x` that the verifier needs.
#define UNKNOWN(x) __asm__ volatile("" : "+r"(x))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BE16(x) ((u16)__builtin_bswap16(x))
#else
#define BE16(x) ((u16)(x))
#endif

// linux/bpf.h

struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id, family;
	u32 remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
	u64 flow_keys, tstamp;
	u32 wire_len, gso_segs;
	u64 sk;
	u32 gso_size;
};

static void *(*const map_lookup)(const void *map, const void *key) = (void *)1;
static u32 (*const get_smp_processor_id)(void) = (void *)8;
static long (*const skb_store_bytes)(struct __sk_buff *, u32 offset, const void *, u32 octets, u64) = (void *)9;
static long (*const l4_csum_replace)(struct __sk_buff *, u32 offset, u64 from, u64 to, u64) = (void *)11;
static long (*const clone_redirect)(struct __sk_buff *, u32 ifindex, u64) = (void *)13;
static long (*const skb_vlan_push)(struct __sk_buff *, u16 protocol, u16 tci) = (void *)18;
static long (*const skb_vlan_pop)(struct __sk_buff *) = (void *)19;
static long (*const redirect)(u32 ifindex, u64) = (void *)23;
static long (*const skb_load_bytes)(const void *, u32 offset, void *to, u32 octets) = (void *)26;
static s64 (*const csum_diff)(const void *from, u32, const void *to, u32, u32 seed) = (void *)28;
static long (*const skb_change_tail)(struct __sk_buff *, u32 octets, u64) = (void *)38;
static long (*const skb_adjust_room)(struct __sk_buff *, int octets, u32 mode, u64) = (void *)50;
static long (*const csum_level)(struct __sk_buff *, u64) = (void *)135;
static u64 (*const ktime_get_coarse_ns)(void) = (void *)160;

#define BPF_F_RECOMPUTE_CSUM 1
#define BPF_ADJ_ROOM_NET 0
#define BPF_F_ADJ_ROOM_NO_CSUM_RESET (1 << 5)
#define BPF_CSUM_LEVEL_QUERY 0

// linux/pkt_cls.h, linux/if_packet.h, linux/if_ether.h, linux/in.h, linux/errno.h

#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2
#define TC_ACT_REDIRECT 7
#define PACKET_MULTICAST 2
#define PACKET_OUTGOING 4
#define ETH_P_IP BE16(0x0800)
#define ETH_P_8021Q BE16(0x8100)
#define ETH_P_8021AD BE16(0x88A8)
#define IPPROTO_UDP 17
#define NET_XMIT_SUCCESS 0
#define NET_XMIT_DROP 1
#define NET_XMIT_CN 2
#define ENOMEM 12
#define ENODEV 19
#define EINVAL 22
#define EMSGSIZE 90
#define ENETDOWN 100
#define ENOBUFS 105

// The layout of the maps (layout.py)

#define NESTED_TAGS 2      // VLAN tags of a frame behind the one that the kernel has removed
#define VLAN_NUMBER 0x0FFF // bits of a tag
#define INLINE_OUTPUTS 2
#define CHUNK_OUTPUTS 4
#define SEGMENT_SHIFT 8 // a segment has 256 cells
#define SEGMENT_MASK 255
#define COLD_SHIFT 4 // a cell has 16 cold counts
#define SUM_OCTETS 512 // summed at once, the most that csum_diff takes before Linux 6.13
#define MAX_TAIL 2048 // octets behind the datagram that are restored; those after them become zero

enum flow_flags { SOURCES = 1, EXCLUSIVE = 2, LEAVING = 4 };
enum output_flags { COPY_DSCP = 1, TAKES_PACKET = 2 };
enum address_flags { TAKES_OUTGOING = 1 };
enum decision { UNDECIDED = 0, RING = 1, KERNEL = 2 };

// Counters of a cell: `hot` for each CPU, `cold` shared by all.
enum hot { PACKETS, OCTETS, HOT_2, HOT_3 };
#define LINK_NO_RULE HOT_2
#define RULE_LAST_TIME HOT_2
#define RULE_LAST_SOURCE HOT_3
#define OUTPUT_TTL HOT_2
enum cold_of_input { FRAGMENT, MALFORMED, OVERSIZE, SOURCE, OWN, TAGGED, OTHER_DEVICE = TAGGED + 3, OTHER_PORT = OTHER_DEVICE + 3 };
enum cold_of_output { ERROR_EMSGSIZE, ERROR_ENETDOWN, ERROR_ENOBUFS, ERROR_ENOMEM, ERROR_ENODEV, ERROR_OTHER, FIRST_FAULT };
#define LAST_ERROR_TIME 14
#define LAST_ERROR 15

struct flow_key {
	u32 ifindex, destination, source;
	u16 port, unused;
};

struct output {
	u32 ifindex, cell, taker, source, destination;
	u16 source_port, port;
	u8 destination_mac[6], source_mac[6];
	u16 mtu;
	u8 ttl, tos, flags, fault;
	u16 unused;
	u32 unused_word;
};

struct flow {
	struct flow_key key;
	u32 rule, link, next;
	u8 flags, count;
	u16 unused;
	struct output outputs[INLINE_OUTPUTS];
};

struct chunk {
	u32 next, count;
	struct output outputs[CHUNK_OUTPUTS];
};

struct endpoint {
	u32 address;
	u16 port, unused;
};

struct address_key {
	u32 ifindex, address;
	u16 port, unused;
};

struct address {
	u32 rule, flags;
};

struct decided {
	u64 identity;
	u32 ifindex, decision;
};

#ifdef FINGERPRINT
SECTION("fingerprint") const char made_from[] = FINGERPRINT; // what the object was made from (packaging/kernel_program.py)
#endif

// A map is known by its name alone: the loader puts its descriptor where the program loads its address.
extern const char flows, slots, chunks, own, addresses, links, hot, cold, decisions, scratches;

// A packet

struct ip {
	u8 version_words, tos;
	u16 total, id, fragment;
	u8 ttl, protocol;
	u16 check;
	u32 source, destination;
};

struct udp {
	u16 source, destination, length, check;
};

struct headers {
	u16 unused; // so that `ip` is aligned
	u8 destination_mac[6], source_mac[6];
	u16 ethertype;
	struct ip ip;
	struct udp udp;
};

#define FRAME_HEADERS 42 // octets of Ethernet, IP and UDP without options
#define LINK_HEADER 14
#define IP_HEADER 20
#define UDP_HEADER 8
#define MAX_OPTIONS 40

enum verdict { IGNORED, PLAIN, IS_TAGGED, IS_MALFORMED, IS_OVERSIZE, IS_FRAGMENT };

struct tag {
	u16 protocol, control;
};

struct packet {
	struct headers headers; // as they arrived, without VLAN tags and options
	u32 options[MAX_OPTIONS / 4];
	struct tag outer_tag, nested_tags[NESTED_TAGS];
	u32 has_outer_tag, nested_count;
	u32 vlan;
	u32 network;        // offset of the IP header
	u32 option_octets;
	u32 length;         // octets of the frame
	u32 payload;        // octets
	u32 segments;       // datagrams in the frame
	u32 segment;        // octets of IP of the longest of them
	u32 sum;            // of the UDP header and payload without addresses, ports and checksum
	u32 is_partial;     // the checksum is still to be computed: its field has the sum of the pseudo header
	u32 cpu;
};

// The memory of one run, for each CPU. It is no stack, so that the verifier need not follow each value in it.
struct scratch {
	struct packet packet;
	int action;  // of tc, if the host's stack does not get the packet
	u32 is_busy; // a device sends a copy straight back to a device of an input, which the program ignores
	u8 octets[MAX_TAIL];
};

INLINE u32 fold(u64 sum)
{
	sum = (sum & 0xFFFFFFFF) + (sum >> 32);
	sum = (sum & 0xFFFF) + (sum >> 16 & 0xFFFF) + (sum >> 32);
	sum = (sum & 0xFFFF) + (sum >> 16);
	return (sum & 0xFFFF) + (sum >> 16);
}

// The sum of an IP header without options (RFC 1071).
INLINE u32 sum_header(const struct ip *ip)
{
	const u32 *words = (const u32 *)ip;
	return fold((u64)words[0] + words[1] + words[2] + words[3] + words[4]);
}

// Counters

INLINE void *find_in_segment(const void *map, u32 which, u32 index)
{
	void *segment = map_lookup(map, &which);

	return segment ? map_lookup(segment, &index) : 0;
}

INLINE u64 *find_hot(u32 cell, u32 cpu)
{
	return find_in_segment(&hot, cell >> SEGMENT_SHIFT, (cpu << SEGMENT_SHIFT) + (cell & SEGMENT_MASK));
}

// Each count has an entry of its own, so that no address is computed from a number: which the verifier refuses without
// CAP_PERFMON if the ways to it differ (Spectre).
FUNCTION u64 *find_cold(u32 cell, u32 column)
{
	u32 index = ((cell & SEGMENT_MASK) << COLD_SHIFT) + column;

	return find_in_segment(&cold, cell >> SEGMENT_SHIFT, index);
}

INLINE void add_traffic(u64 *counts, u64 packets, u64 octets)
{
	counts[PACKETS] += packets;
	counts[OCTETS] += octets;
}

INLINE void count_cold(u32 cell, u32 column, u32 count)
{
	u64 *found = find_cold(cell, column);

	if (found)
		__sync_fetch_and_add(found, count);
}

INLINE void set_cold(u32 cell, u32 column, u64 value)
{
	u64 *found = find_cold(cell, column);

	if (found)
		*found = value;
}

FUNCTION int count_send_error(u32 cell, u32 column, u32 count)
{
	count_cold(cell, column, count);
	set_cold(cell, LAST_ERROR_TIME, ktime_get_coarse_ns());
	set_cold(cell, LAST_ERROR, column);
	return 0;
}

FUNCTION int count_near_miss(u32 cell, u32 column, u32 detail, u32 count)
{
	set_cold(cell, column, ktime_get_coarse_ns());
	set_cold(cell, column + 1, detail);
	count_cold(cell, column + 2, count);
	return 0;
}

// Reading

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
	packet->is_partial = packet->segments = packet->payload = 0;
	if (skb_load_bytes(skb, 0, headers->destination_mac, FRAME_HEADERS)) {
		headers->udp = (struct udp){};
		if (skb_load_bytes(skb, 0, headers->destination_mac, LINK_HEADER + IP_HEADER))
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
		if (octets > MAX_OPTIONS || skb_load_bytes(skb, udp, packet->options, octets ? octets : 1))
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

// Return the sum of the payload, 512 octets at a time; -1 if the packet cannot be read.
FUNCTION s64 sum_payload(struct __sk_buff *skb, struct scratch *scratch, u32 offset)
{
	u32 octets = scratch->packet.payload;
	s64 sum = 0;

#define SUM_PART \
	if (octets >= SUM_OCTETS) { \
		if (skb_load_bytes(skb, offset, scratch->octets, SUM_OCTETS)) \
			return -1; \
		sum = csum_diff(0, 0, scratch->octets, SUM_OCTETS, sum & 0xFFFFFFFF); \
		offset += SUM_OCTETS; \
		octets -= SUM_OCTETS; \
	}
	REPEAT_64(SUM_PART)
	REPEAT_64(SUM_PART)

	u32 words = octets & 0x1FC, rest = octets & 3, last = 0;

	if (words) {
		if (skb_load_bytes(skb, offset, scratch->octets, words))
			return -1;
		sum = csum_diff(0, 0, scratch->octets, words, sum & 0xFFFFFFFF);
	}
	if (rest && skb_load_bytes(skb, offset + words, &last, rest))
		return -1;
	sum = (sum & 0xFFFFFFFF) + last;
	return fold(sum);
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

	if (!check && skb->gso_size) {
		packet->sum = 0;
		return 1;
	}
	if (check && csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0) {
		// No device has verified it. The helper changes the field only if it has a whole checksum.
		u16 probed = 0;

		l4_csum_replace(skb, offset + 6, 0, 1, 2);
		if (skb_load_bytes(skb, offset + 6, &probed, sizeof(probed)))
			return 0;
		if (probed == check) {
			packet->is_partial = 1;
			packet->sum = fold(pseudo);
			return 1;
		}
		skb_store_bytes(skb, offset + 6, &check, sizeof(check), 0);
		s64 payload = sum_payload(skb, scratch, offset + UDP_HEADER);

		packet->sum = fold(pseudo + udp->length + (payload & 0xFFFFFFFF));
		return payload >= 0 && fold(packet->sum + endpoints + check) == 0xFFFF;
	}
	if (!check) {
		s64 payload = sum_payload(skb, scratch, offset + UDP_HEADER);

		packet->sum = fold(pseudo + udp->length + (payload & 0xFFFFFFFF));
		return payload >= 0;
	}
	packet->sum = fold((u64)(check ^ 0xFFFF) + (fold(endpoints) ^ 0xFFFF));
	return 1;
}

// Sending

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

// Write the headers of an output over those of the packet. Return an error of skb_store_bytes.
INLINE long write_headers(struct __sk_buff *skb, const struct packet *packet, const struct output *output, u8 ttl, u16 id)
{
	struct headers new;
	struct ip *ip = &new.ip;
	struct udp *udp = &new.udp;
	u8 tos = output->flags & COPY_DSCP ? packet->headers.ip.tos & 0xFC : output->tos;

	__builtin_memcpy(new.destination_mac, output->destination_mac, 12);
	new.ethertype = ETH_P_IP;
	*ip = (struct ip){
		.version_words = 0x45,
		.tos = tos,
		.total = BE16(IP_HEADER + UDP_HEADER + packet->payload),
		.id = id,
		.ttl = ttl,
		.protocol = IPPROTO_UDP,
		.source = output->source,
		.destination = output->destination,
	};
	ip->check = sum_header(ip) ^ 0xFFFF;
	*udp = (struct udp){output->source_port, output->port, packet->headers.udp.length, 0};
	if (packet->is_partial) {
		udp->check = fold((u64)packet->sum + output->source + output->destination);
	} else if (packet->sum) {
		u32 sum = fold(packet->sum + sum_endpoints(output->source, output->destination, output->source_port, output->port));

		udp->check = sum == 0xFFFF ? 0xFFFF : sum ^ 0xFFFF;
	}
	long error = skb_store_bytes(skb, 0, new.destination_mac, LINK_HEADER, 0);

	return error ? error : skb_store_bytes(skb, LINK_HEADER, ip, IP_HEADER + UDP_HEADER, BPF_F_RECOMPUTE_CSUM);
}

// Send the packet to one output, and count what became of it.
FUNCTION int send(struct __sk_buff *skb, struct scratch *scratch, const struct output *output)
{
	const struct packet *packet = &scratch->packet;
	u32 packets = packet->segments;
	u64 *counts = find_hot(output->cell, packet->cpu);
	u8 ttl = output->ttl;
	s64 result;

	if (output->fault) {
		count_send_error(output->cell, output->fault - 1, packets);
		return 0;
	}
	if (!ttl) {
		ttl = packet->headers.ip.ttl;
		if (ttl <= 1) {
			if (counts)
				counts[OUTPUT_TTL] += packets;
			return 0;
		}
		ttl--;
	}
	if (packet->segment > output->mtu) {
		count_send_error(output->cell, ERROR_EMSGSIZE, packets);
		return 0;
	}
	// DF is not set, so the identification must differ from packet to packet (RFC 6864).
	u16 id = (counts ? counts[PACKETS] : 0) + (packet->cpu << 11);

	result = write_headers(skb, packet, output, ttl, BE16(id));
	if (!result && output->flags & TAKES_PACKET)
		scratch->action = redirect(output->ifindex, 0);
	else if (!result)
		result = clone_redirect(skb, output->ifindex, 0);
	if (result != NET_XMIT_SUCCESS) {
		count_send_error(output->cell, error_column(result), packets);
		return 0;
	}
	if (counts)
		add_traffic(counts, packets, packet->payload);
	if (output->taker)
		count_cold(output->taker, OWN, packets);
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

		UNKNOWN(kept);
		if (kept < 1 || kept > MAX_TAIL || skb_load_bytes(skb, datagram, scratch->octets, kept))
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

// Undo `remove_extras`, for a packet whose headers are restored. Return 0, or an error.
FUNCTION long restore_extras(struct __sk_buff *skb, struct scratch *scratch)
{
	const struct packet *packet = &scratch->packet;
	u32 octets = packet->option_octets;
	u32 datagram = LINK_HEADER + IP_HEADER + octets + UDP_HEADER + packet->payload;
	u32 tail = packet->length - datagram - (packet->network - LINK_HEADER);

	UNKNOWN(octets);
	if (octets) {
		if (skb_adjust_room(skb, octets, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_NO_CSUM_RESET))
			return -ENOMEM;
		if (octets > MAX_OPTIONS ||
		    skb_store_bytes(skb, LINK_HEADER, &packet->headers.ip, IP_HEADER, BPF_F_RECOMPUTE_CSUM) ||
		    skb_store_bytes(skb, LINK_HEADER + IP_HEADER, packet->options, octets, BPF_F_RECOMPUTE_CSUM))
			return -ENOMEM;
	}
	if (tail) {
		u32 kept = tail < MAX_TAIL ? tail : MAX_TAIL;

		UNKNOWN(kept);
		if (kept < 1 || kept > MAX_TAIL || skb_change_tail(skb, datagram + tail, 0) ||
		    skb_store_bytes(skb, datagram, scratch->octets, kept, BPF_F_RECOMPUTE_CSUM))
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

// Send the packet to the outputs in a chunk. Return the number of the next chunk, 0 if there is none.
FUNCTION u32 send_chunk(struct __sk_buff *skb, struct scratch *scratch, u32 number)
{
	const struct chunk *chunk = map_lookup(&chunks, &number);

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
	u32 next = flow->next;

	if (flow->count > 0)
		send(skb, scratch, &flow->outputs[0]);
	if (flow->count > 1)
		send(skb, scratch, &flow->outputs[1]);
	REPEAT_16(if (next) next = send_chunk(skb, scratch, next);)
}

INLINE int relay(struct __sk_buff *skb, struct scratch *scratch, const struct flow *flow)
{
	struct packet *packet = &scratch->packet;
	u64 *counts = find_hot(flow->rule, packet->cpu);
	u32 plain = packet->network + IP_HEADER + UDP_HEADER + packet->payload;
	int has_extras = packet->has_outer_tag || packet->nested_count || packet->option_octets || packet->length != plain;

	if (counts) {
		add_traffic(counts, packet->segments, packet->payload);
		counts[RULE_LAST_TIME] = ktime_get_coarse_ns();
		counts[RULE_LAST_SOURCE] = packet->headers.ip.source;
	}
	if (has_extras && remove_extras(skb, scratch))
		return TC_ACT_SHOT; // out of memory: the packet is no longer what it was
	scratch->action = TC_ACT_SHOT;
	send_to_all(skb, scratch, flow);
	if (flow->flags & EXCLUSIVE)
		return scratch->action;
	packet->headers.ethertype = ETH_P_IP;
	long error = skb_store_bytes(skb, 0, packet->headers.destination_mac, LINK_HEADER, 0);

	if (!error && packet->option_octets) {
		error = skb_store_bytes(skb, LINK_HEADER + IP_HEADER, &packet->headers.udp, UDP_HEADER, BPF_F_RECOMPUTE_CSUM);
	} else if (!error) {
		error = skb_store_bytes(skb, LINK_HEADER, &packet->headers.ip, IP_HEADER + UDP_HEADER, BPF_F_RECOMPUTE_CSUM);
	}
	if (!error && has_extras)
		error = restore_extras(skb, scratch);
	return error ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

// The lookup

INLINE const struct flow *find_slot(const struct flow_key *key)
{
	const u32 *slot = map_lookup(&flows, key);

	return slot ? find_in_segment(&slots, *slot >> SEGMENT_SHIFT, *slot & SEGMENT_MASK) : 0;
}

INLINE int has_key(const struct flow *flow, const struct flow_key *key)
{
	return flow->key.ifindex == key->ifindex && flow->key.destination == key->destination &&
	       flow->key.source == key->source && flow->key.port == key->port;
}

FUNCTION const struct flow *find_flow(const struct flow_key *key)
{
	const struct flow *flow = find_slot(key);

	// An entry that was deleted meanwhile may have the slot of another flow by now: look again.
	if (flow && !has_key(flow, key)) {
		flow = find_slot(key);
		if (flow && !has_key(flow, key))
			return 0;
	}
	return flow;
}

INLINE const struct address *find_address(u32 ifindex, u32 address, u16 port)
{
	struct address_key key = {ifindex, address, port, 0};

	return map_lookup(&addresses, &key);
}

INLINE int is_group(u32 address)
{
	return (*(const u8 *)&address & 0xF0) == 0xE0;
}

// Whether packets to this address are counted even if they have no flow, as those in a ring are.
INLINE int is_counted(u32 destination)
{
	return is_group(destination) || find_address(0, destination, 0);
}

// Tells the two programs that they see the same packet.
INLINE u64 identify(const struct packet *packet)
{
	const struct ip *ip = &packet->headers.ip;

	return (u64)ip->source << 32 ^ (u64)ip->id << 48 ^ ip->destination ^ (u64)packet->length << 16 ^
	       packet->headers.udp.check ^ (u64)packet->headers.udp.source << 24;
}

// Return the cell of the rule that counts the faults of an address; 0 if the link counts them.
INLINE u32 rule_of_address(u32 ifindex, u32 destination)
{
	const struct address *address = find_address(ifindex, destination, 0);

	return address ? address->rule : 0;
}

FUNCTION int count_fault(struct __sk_buff *skb, const struct packet *packet, u32 link, u32 verdict)
{
	u32 destination = packet->headers.ip.destination;
	u32 rule = rule_of_address(skb->ifindex, destination);
	u32 column = verdict == IS_FRAGMENT ? FRAGMENT : verdict == IS_OVERSIZE ? OVERSIZE : MALFORMED;

	if (verdict != IS_TAGGED) {
		count_cold(rule ? rule : link, column, 1);
		return 0;
	}
	u64 *counts = find_hot(link, packet->cpu);

	if (counts)
		counts[LINK_NO_RULE] += 1;
	return rule ? count_near_miss(rule, TAGGED, packet->vlan, 1) : 0;
}

FUNCTION int count_unknown(struct __sk_buff *skb, const struct packet *packet, u32 link)
{
	const struct headers *headers = &packet->headers;
	u32 destination = headers->ip.destination;
	u64 *counts = find_hot(link, packet->cpu);

	if (counts)
		counts[LINK_NO_RULE] += packet->segments;
	const struct address *elsewhere = find_address(0, destination, headers->udp.destination);

	if (elsewhere && elsewhere->rule)
		return count_near_miss(elsewhere->rule, OTHER_DEVICE, skb->ifindex, packet->segments);
	u32 rule = rule_of_address(skb->ifindex, destination);

	return rule ? count_near_miss(rule, OTHER_PORT, BE16(headers->udp.destination), packet->segments) : 0;
}

// Return what `ring_filter` has decided about this packet, just before and on this CPU.
INLINE enum decision take_decision(const struct __sk_buff *skb, const struct packet *packet)
{
	u32 key = 0;
	struct decided *decided = map_lookup(&decisions, &key);
	enum decision decision = UNDECIDED;

	if (decided && decided->decision) {
		if (decided->ifindex == skb->ifindex && decided->identity == identify(packet))
			decision = decided->decision;
		decided->decision = UNDECIDED;
	}
	return decision;
}

INLINE int handle(struct __sk_buff *skb, struct scratch *scratch)
{
	struct packet *packet = &scratch->packet;
	u32 verdict = IGNORED;

	if (skb->pkt_type <= PACKET_MULTICAST)
		verdict = read_packet(skb, packet);
	if (verdict == IGNORED)
		return TC_ACT_UNSPEC;

	u32 ifindex = skb->ifindex;
	struct ip *ip = &packet->headers.ip;
	struct udp *udp = &packet->headers.udp;
	enum decision decision = take_decision(skb, packet);
	const struct flow *flow = 0;

	if (decision == RING)
		return TC_ACT_UNSPEC;
	packet->cpu = get_smp_processor_id();
	if (verdict == PLAIN) {
		struct flow_key key = {ifindex, ip->destination, 0, udp->destination, 0};

		flow = find_flow(&key);
		if (flow && flow->flags & SOURCES) {
			key.source = ip->source;
			const struct flow *allowed = find_flow(&key);

			if (!allowed) {
				u64 *counts = find_hot(flow->link, packet->cpu);

				if (counts)
					add_traffic(counts, packet->segments, packet->length);
				count_cold(flow->rule, SOURCE, packet->segments);
				return TC_ACT_UNSPEC;
			}
			flow = allowed;
		}
	}
	if (!flow) {
		if (!is_counted(ip->destination))
			return TC_ACT_UNSPEC;
		const u32 *link = map_lookup(&links, &ifindex);
		u32 cell = link ? *link : 0;
		u64 *counts = link ? find_hot(cell, packet->cpu) : 0;

		if (!link)
			return TC_ACT_UNSPEC;
		if (counts)
			add_traffic(counts, packet->segments ? packet->segments : 1, packet->length);
		if (verdict == PLAIN)
			count_unknown(skb, packet, cell);
		else
			count_fault(skb, packet, cell, verdict);
		return TC_ACT_UNSPEC;
	}
	if (flow->flags & LEAVING && !flow->count)
		return TC_ACT_UNSPEC; // a flow of the workers

	u64 *counts = find_hot(flow->link, packet->cpu);
	struct endpoint source = {ip->source, udp->source, 0};

	if (counts)
		add_traffic(counts, packet->segments, packet->length);
	if (map_lookup(&own, &source)) {
		count_cold(flow->rule, OWN, packet->segments);
		return TC_ACT_UNSPEC;
	}
	if (!read_checksum(skb, scratch)) {
		count_cold(flow->rule, MALFORMED, packet->segments);
		return TC_ACT_UNSPEC;
	}
	return relay(skb, scratch, flow);
}

SECTION("classifier") int ingress(struct __sk_buff *skb)
{
	u32 key = 0;
	struct scratch *scratch = map_lookup(&scratches, &key);

	if (!scratch || scratch->is_busy)
		return TC_ACT_UNSPEC;
	scratch->is_busy = 1;
	int action = handle(skb, scratch);

	scratch->is_busy = 0;
	return action;
}

// The packet filter of a ring: return how many octets of the packet the ring gets.
SECTION("socket") u32 ring_filter(struct __sk_buff *skb)
{
	u32 key = 1, ifindex = skb->ifindex;
	struct scratch *scratch = map_lookup(&scratches, &key);

	if (!scratch || (skb->pkt_type > PACKET_MULTICAST && skb->pkt_type != PACKET_OUTGOING))
		return 0;
	struct packet *packet = &scratch->packet;
	u32 verdict = read_packet(skb, packet);
	u32 destination = packet->headers.ip.destination;

	if (verdict == IGNORED)
		return 0;
	if (skb->pkt_type == PACKET_OUTGOING) {
		const struct address *address = find_address(ifindex, destination, 0);

		return address && address->flags & TAKES_OUTGOING ? -1 : 0;
	}
	u32 is_of_kernel;

	if (verdict == PLAIN) {
		struct flow_key flow_key = {ifindex, destination, 0, packet->headers.udp.destination, 0};
		const struct flow *flow = find_flow(&flow_key);

		is_of_kernel = flow && !(flow->flags & LEAVING);
		if (!flow && !is_counted(destination))
			return 0;
	} else {
		is_of_kernel = rule_of_address(ifindex, destination) != 0;
		if (!is_of_kernel && !is_counted(destination))
			return 0;
	}
	key = 0;
	struct decided *decided = map_lookup(&decisions, &key);

	if (decided) {
		u64 identity = identify(packet);
		// Several rings of a link may see the packet. One that has taken it has it for good.
		int is_taken = decided->decision == RING && decided->identity == identity && decided->ifindex == ifindex;

		if (!is_taken) {
			decided->identity = identity;
			decided->ifindex = ifindex;
			decided->decision = is_of_kernel ? KERNEL : RING;
		}
	}
	return is_of_kernel ? 0 : -1;
}

// Set the counts of a cell to zero; the packet has the cell and the CPU. No process can write these maps.
SECTION("clearing") int clear(struct __sk_buff *skb)
{
	u32 words[2], column = 0;

	if (skb_load_bytes(skb, LINK_HEADER, words, sizeof(words)))
		return 1;
	u64 *counts = find_hot(words[0], words[1]);

	if (counts)
		counts[0] = counts[1] = counts[2] = counts[3] = 0;
	REPEAT_16(set_cold(words[0], column++, 0);)
	return 0;
}
