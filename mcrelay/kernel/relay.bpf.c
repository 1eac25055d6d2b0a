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
#define SEGMENT_SHIFT 10 // a segment has 1024 entries
#define SEGMENT_MASK 1023
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
	u8 macs[12]; // destination and source
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

#ifdef FINGERPRINT
SECTION("fingerprint") const char made_from[] = FINGERPRINT; // what the object was made from (packaging/kernel_program.py)
#endif

// A map is known by its name alone: the loader puts its descriptor where the program loads its address.
extern const char flows, slots, chunks, own, addresses, links, hot, cold, scratches;

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
	u8 macs[12];
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

// Of UDP. If it is still to be computed, its field has the sum of the pseudo header.
enum checksum { NO_CHECKSUM, PARTIAL, WHOLE };

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
	u32 checksum;
	u32 cpu;
};

// The memory of a run, for each CPU and each program. It is no stack, for two reasons: the verifier need not
// follow each value in it, and without CAP_PERFMON it lets the CPU wait at each write to the stack (Spectre).
struct scratch {
	struct packet packet;
	struct headers headers; // of the output to which the packet is sent
	struct flow_key flow;   // the keys of lookups
	struct address_key address;
	struct endpoint endpoint;
	u32 number, segment, index;
	u32 offset, rest, sum; // of the payload that is added up
	u32 decision; // of `ring_filter`, about the packet that the device `decided` has received
	u32 decided;
	u64 identity; // of that packet
	int action;  // of tc, if the host's stack does not get the packet
	u32 has_extras;
	u32 is_busy; // a device sends a copy straight back to a device of an input, which the program ignores
	u16 probed;
	u8 octets[MAX_TAIL];
};

#define SCRATCH_OF_INGRESS 0
#define SCRATCH_OF_RING_FILTER 1
#define SCRATCH_OF_CLEAR 2

INLINE struct scratch *find_scratch(u32 key)
{
	return map_lookup(&scratches, &key);
}

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

// Add some octets of the payload to its sum, and return how many are left. `octets` is below or equal to the rest.
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
	rest &= SUM_OCTETS - 4;
	if (rest)
		add_to_sum(skb, scratch, rest);
	rest = scratch->rest & 3;
	scratch->number = 0;
	if (rest)
		skb_load_bytes(skb, scratch->offset, &scratch->number, rest);
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
INLINE long write_headers(struct __sk_buff *skb, struct scratch *scratch, const struct output *output, u8 ttl, u16 id)
{
	const struct packet *packet = &scratch->packet;
	struct headers *new = &scratch->headers;
	u16 total = BE16(IP_HEADER + UDP_HEADER + packet->payload);
	u8 tos = output->flags & COPY_DSCP ? packet->headers.ip.tos & 0xFC : output->tos;
	u64 addresses = (u64)output->source + output->destination;
	u16 check = 0;

	new->ip.version_words = 0x45;
	new->ip.tos = tos;
	new->ip.total = total;
	new->ip.id = id;
	new->ip.fragment = 0;
	new->ip.ttl = ttl;
	new->ip.protocol = IPPROTO_UDP;
	new->ip.check = fold(addresses + BE16(0x4500 | tos) + total + id + BE16(ttl << 8 | IPPROTO_UDP)) ^ 0xFFFF;
	new->ip.source = output->source;
	new->ip.destination = output->destination;
	new->udp.source = output->source_port;
	new->udp.destination = output->port;
	new->udp.length = packet->headers.udp.length;
	if (packet->checksum == PARTIAL) {
		check = fold(packet->sum + addresses);
	} else if (packet->checksum == WHOLE) {
		check = fold(packet->sum + addresses + output->source_port + output->port) ^ 0xFFFF;
		check = check ? check : 0xFFFF;
	}
	new->udp.check = check;
	long error = skb_store_bytes(skb, 0, output->macs, sizeof(output->macs), 0);

	return error ? error : skb_store_bytes(skb, LINK_HEADER, &new->ip, IP_HEADER + UDP_HEADER, BPF_F_RECOMPUTE_CSUM);
}

// Send the packet to one output, and count what became of it.
FUNCTION int send(struct __sk_buff *skb, struct scratch *scratch, const struct output *output)
{
	const struct packet *packet = &scratch->packet;
	u32 packets = packet->segments;
	u64 *counts = find_hot(scratch, output->cell);
	u8 ttl = output->ttl;
	s64 result;

	if (output->fault) {
		count_send_error(scratch, output->cell, output->fault - 1, packets);
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
		count_send_error(scratch, output->cell, ERROR_EMSGSIZE, packets);
		return 0;
	}
	// DF is not set, so the identification must differ from packet to packet (RFC 6864).
	u16 id = (counts ? counts[PACKETS] : 0) + (packet->cpu << 11);

	result = write_headers(skb, scratch, output, ttl, BE16(id));
	if (!result && output->flags & TAKES_PACKET)
		scratch->action = redirect(output->ifindex, 0);
	else if (!result)
		result = clone_redirect(skb, output->ifindex, 0);
	if (result != NET_XMIT_SUCCESS) {
		count_send_error(scratch, output->cell, error_column(result), packets);
		return 0;
	}
	if (counts)
		add_traffic(counts, packets, packet->payload);
	if (output->taker)
		count_cold(scratch, output->taker, OWN, packets);
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

// Restore the headers behind the link header, and what `remove_extras` has removed. Return 0, or an error.
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
		    skb_store_bytes(skb, LINK_HEADER + IP_HEADER, packet->options, octets, BPF_F_RECOMPUTE_CSUM))
			return -ENOMEM;
	}
	octets = packet->option_octets;
	if (skb_store_bytes(skb, LINK_HEADER, &packet->headers.ip, IP_HEADER, BPF_F_RECOMPUTE_CSUM) ||
	    skb_store_bytes(skb, LINK_HEADER + IP_HEADER + octets, &packet->headers.udp, UDP_HEADER, BPF_F_RECOMPUTE_CSUM))
		return -ENOMEM;
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

// Make the packet what it was. Return 0, or an error.
INLINE long restore(struct __sk_buff *skb, struct scratch *scratch)
{
	struct headers *headers = &scratch->packet.headers;

	if (skb_store_bytes(skb, 0, headers->macs, sizeof(headers->macs), 0))
		return -ENOMEM;
	if (!scratch->has_extras)
		return skb_store_bytes(skb, LINK_HEADER, &headers->ip, IP_HEADER + UDP_HEADER, BPF_F_RECOMPUTE_CSUM);
	return restore_extras(skb, scratch);
}

// Send the packet to the outputs in a chunk. Return the number of the next chunk, 0 if there is none.
FUNCTION u32 send_chunk(struct __sk_buff *skb, struct scratch *scratch, u32 number)
{
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
	u32 next = flow->next;

	if (flow->count > 0)
		send(skb, scratch, &flow->outputs[0]);
	if (flow->count > 1)
		send(skb, scratch, &flow->outputs[1]);
	REPEAT_16(if (next) next = send_chunk(skb, scratch, next);)
}

// Relay a packet of a flow. Return the action of tc.
FUNCTION int relay(struct __sk_buff *skb, struct scratch *scratch, const struct flow *flow)
{
	const struct packet *packet = &scratch->packet;
	u64 *counts = find_hot(scratch, flow->rule);

	if (counts) {
		add_traffic(counts, packet->segments, packet->payload);
		counts[RULE_LAST_TIME] = ktime_get_coarse_ns();
		counts[RULE_LAST_SOURCE] = packet->headers.ip.source;
	}
	scratch->has_extras = packet->has_outer_tag || packet->option_octets ||
			      packet->length != LINK_HEADER + IP_HEADER + UDP_HEADER + packet->payload;
	if (scratch->has_extras && remove_extras(skb, scratch))
		return TC_ACT_SHOT; // out of memory: the packet is no longer what it was
	scratch->action = TC_ACT_SHOT;
	send_to_all(skb, scratch, flow);
	if (flow->flags & EXCLUSIVE)
		return scratch->action;
	return restore(skb, scratch) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

// The lookup

INLINE const struct flow *find_slot(struct scratch *scratch)
{
	const u32 *slot = map_lookup(&flows, &scratch->flow);

	return slot ? find_in_segment(scratch, &slots, *slot >> SEGMENT_SHIFT, *slot & SEGMENT_MASK) : 0;
}

INLINE int has_key(const struct flow *flow, const struct flow_key *key)
{
	return flow->key.ifindex == key->ifindex && flow->key.destination == key->destination &&
	       flow->key.source == key->source && flow->key.port == key->port;
}

// Return the flow of the packet from this source, or from any source if it is 0.
FUNCTION const struct flow *find_flow(struct __sk_buff *skb, struct scratch *scratch, u32 source)
{
	scratch->flow.ifindex = skb->ifindex;
	scratch->flow.destination = scratch->packet.headers.ip.destination;
	scratch->flow.source = source;
	scratch->flow.port = scratch->packet.headers.udp.destination;
	scratch->flow.unused = 0;
	const struct flow *flow = find_slot(scratch);

	// An entry that was deleted meanwhile may have the slot of another flow by now: look again.
	if (flow && !has_key(flow, &scratch->flow)) {
		flow = find_slot(scratch);
		if (flow && !has_key(flow, &scratch->flow))
			return 0;
	}
	return flow;
}

INLINE const struct address *find_address(struct scratch *scratch, u32 ifindex, u16 port)
{
	scratch->address.ifindex = ifindex;
	scratch->address.address = scratch->packet.headers.ip.destination;
	scratch->address.port = port;
	scratch->address.unused = 0;
	return map_lookup(&addresses, &scratch->address);
}

INLINE int is_group(u32 address)
{
	return (*(const u8 *)&address & 0xF0) == 0xE0;
}

// Whether the packet is counted even if it has no flow, as those in a ring are.
INLINE int is_counted(struct scratch *scratch)
{
	return is_group(scratch->packet.headers.ip.destination) || find_address(scratch, 0, 0);
}

// Tells the two programs that they see the same packet.
INLINE u64 identify(const struct packet *packet)
{
	const struct ip *ip = &packet->headers.ip;

	return (u64)ip->source << 32 ^ (u64)ip->id << 48 ^ ip->destination ^ (u64)packet->length << 16 ^
	       packet->headers.udp.check ^ (u64)packet->headers.udp.source << 24;
}

// Return the cell of the rule that counts the faults of the packet's address; 0 if the link counts them.
INLINE u32 rule_of_address(struct __sk_buff *skb, struct scratch *scratch)
{
	const struct address *address = find_address(scratch, skb->ifindex, 0);

	return address ? address->rule : 0;
}

FUNCTION int count_fault(struct __sk_buff *skb, struct scratch *scratch, u32 link, u32 verdict)
{
	u32 rule = rule_of_address(skb, scratch);
	u32 column = verdict == IS_FRAGMENT ? FRAGMENT : verdict == IS_OVERSIZE ? OVERSIZE : MALFORMED;

	if (verdict != IS_TAGGED) {
		count_cold(scratch, rule ? rule : link, column, 1);
		return 0;
	}
	u64 *counts = find_hot(scratch, link);

	if (counts)
		counts[LINK_NO_RULE] += 1;
	return rule ? count_near_miss(scratch, rule, TAGGED, scratch->packet.vlan, 1) : 0;
}

FUNCTION int count_unknown(struct __sk_buff *skb, struct scratch *scratch, u32 link)
{
	u16 port = scratch->packet.headers.udp.destination;
	u32 packets = scratch->packet.segments;
	u64 *counts = find_hot(scratch, link);

	if (counts)
		counts[LINK_NO_RULE] += packets;
	const struct address *elsewhere = find_address(scratch, 0, port);

	if (elsewhere && elsewhere->rule)
		return count_near_miss(scratch, elsewhere->rule, OTHER_DEVICE, skb->ifindex, packets);
	u32 rule = rule_of_address(skb, scratch);

	return rule ? count_near_miss(scratch, rule, OTHER_PORT, BE16(port), packets) : 0;
}

// Count a packet that has a fault or no flow.
FUNCTION int count_other(struct __sk_buff *skb, struct scratch *scratch, u32 verdict)
{
	if (!is_counted(scratch))
		return 0;
	scratch->number = skb->ifindex;
	const u32 *found = map_lookup(&links, &scratch->number);

	if (!found)
		return 0;
	u32 link = *found;
	u64 *counts = find_hot(scratch, link);

	if (counts)
		add_traffic(counts, scratch->packet.segments ? scratch->packet.segments : 1, scratch->packet.length);
	return verdict == PLAIN ? count_unknown(skb, scratch, link) : count_fault(skb, scratch, link, verdict);
}

// Return what `ring_filter` has decided about this packet, just before and on this CPU.
INLINE enum decision take_decision(const struct __sk_buff *skb, struct scratch *scratch)
{
	enum decision decision = scratch->decision;

	if (decision) {
		scratch->decision = UNDECIDED;
		if (scratch->decided != skb->ifindex || scratch->identity != identify(&scratch->packet))
			return UNDECIDED;
	}
	return decision;
}

INLINE int handle(struct __sk_buff *skb, struct scratch *scratch)
{
	const struct packet *packet = &scratch->packet;
	u32 verdict = read_packet(skb, &scratch->packet);

	if (verdict == IGNORED || take_decision(skb, scratch) == RING)
		return TC_ACT_UNSPEC;
	scratch->packet.cpu = get_smp_processor_id();
	const struct flow *flow = verdict == PLAIN ? find_flow(skb, scratch, 0) : 0;

	if (!flow) {
		count_other(skb, scratch, verdict);
		return TC_ACT_UNSPEC;
	}
	if (flow->flags & LEAVING && !flow->count)
		return TC_ACT_UNSPEC; // a flow of the workers
	u64 *counts = find_hot(scratch, flow->link);

	if (counts)
		add_traffic(counts, packet->segments, packet->length);
	if (flow->flags & SOURCES) {
		u32 rule = flow->rule;

		flow = find_flow(skb, scratch, packet->headers.ip.source);
		if (!flow) {
			count_cold(scratch, rule, SOURCE, packet->segments);
			return TC_ACT_UNSPEC;
		}
	}
	scratch->endpoint.address = packet->headers.ip.source;
	scratch->endpoint.port = packet->headers.udp.source;
	scratch->endpoint.unused = 0;
	if (map_lookup(&own, &scratch->endpoint)) {
		count_cold(scratch, flow->rule, OWN, packet->segments);
		return TC_ACT_UNSPEC;
	}
	if (!read_checksum(skb, scratch)) {
		count_cold(scratch, flow->rule, MALFORMED, packet->segments);
		return TC_ACT_UNSPEC;
	}
	return relay(skb, scratch, flow);
}

SECTION("classifier") int ingress(struct __sk_buff *skb)
{
	struct scratch *scratch = skb->pkt_type <= PACKET_MULTICAST ? find_scratch(SCRATCH_OF_INGRESS) : 0;

	if (!scratch || scratch->is_busy)
		return TC_ACT_UNSPEC;
	scratch->is_busy = 1;
	int action = handle(skb, scratch);

	scratch->is_busy = 0;
	return action;
}

// Whether `ingress` handles the packet, and not the workers.
INLINE int is_of_kernel(struct __sk_buff *skb, struct scratch *scratch, u32 verdict)
{
	if (verdict != PLAIN)
		return rule_of_address(skb, scratch) != 0;
	const struct flow *flow = find_flow(skb, scratch, 0);

	return flow && !(flow->flags & LEAVING);
}

// The packet filter of a ring: return how many octets of the packet the ring gets.
SECTION("socket") u32 ring_filter(struct __sk_buff *skb)
{
	struct scratch *scratch = find_scratch(SCRATCH_OF_RING_FILTER);

	if (!scratch || (skb->pkt_type > PACKET_MULTICAST && skb->pkt_type != PACKET_OUTGOING))
		return 0;
	u32 verdict = read_packet(skb, &scratch->packet);

	if (verdict == IGNORED)
		return 0;
	if (skb->pkt_type == PACKET_OUTGOING) {
		const struct address *address = find_address(scratch, skb->ifindex, 0);

		return address && address->flags & TAKES_OUTGOING ? -1 : 0;
	}
	u32 decision = is_of_kernel(skb, scratch, verdict) ? KERNEL : RING;
	struct scratch *ingress = find_scratch(SCRATCH_OF_INGRESS);

	if (decision == RING && !is_counted(scratch))
		return 0;
	if (!ingress)
		return 0;
	u64 identity = identify(&scratch->packet);

	// Several rings of a link may see the packet. One that has taken it has it for good.
	if (ingress->decision == RING && ingress->identity == identity && ingress->decided == skb->ifindex)
		return decision == RING ? -1 : 0;
	ingress->identity = identity;
	ingress->decided = skb->ifindex;
	ingress->decision = decision;
	return decision == RING ? -1 : 0;
}

// Set the counts of a cell to zero; the packet has the cell and the CPU. No process can write these maps.
SECTION("clearing") int clear(struct __sk_buff *skb)
{
	struct scratch *scratch = find_scratch(SCRATCH_OF_CLEAR);
	u32 words[2];

	if (!scratch || skb_load_bytes(skb, LINK_HEADER, words, sizeof(words)))
		return 1;
	scratch->packet.cpu = words[1];
	u64 *counts = find_hot(scratch, words[0]);
	u32 column = 0;

	if (counts)
		counts[0] = counts[1] = counts[2] = counts[3] = 0;
	REPEAT_16(set_cold(scratch, words[0], column++, 0);)
	return 0;
}
