// The maps: the layout of their keys, values and counters (layout.py).

#pragma once

#include "kernel.h"

#define LAYOUT_VERSION 3
#define NESTED_TAGS 2      // VLAN tags of a frame behind the one that the kernel has removed
#define VLAN_NUMBER 0x0FFF // bits of a tag
#define INLINE_OUTPUTS 2
#define CHUNK_OUTPUTS 4
#define SEGMENT_SHIFT 10 // a segment has 1024 entries
#define SEGMENT_MASK 1023
#define ADDRESS_FACTOR 2654435769 // of the multiplicative hash of an address
#define ADDRESS_SHIFT 24          // leaves 8 bits of it
#define COLD_COLUMNS 16
#define COLD_SHIFT 4 // a cell has 16 cold counts
#define SUM_OCTETS 512 // summed at once, the most that csum_diff takes before Linux 6.13
#define MAX_TAIL 2048 // octets behind the datagram that are restored; those after them become zero

enum flow_flags { SOURCES = 1, EXCLUSIVE = 2, LEAVING = 4, SHARED = 8 };
enum output_flags { COPY_DSCP = 1, TAKES_PACKET = 2 };
enum address_flags { TAKES_OUTGOING = 1 };
enum decision { UNDECIDED = 0, RING = 1, KERNEL = 2 };

// Counters of a cell: `hot` for each CPU, `cold` shared by all.
enum hot { PACKETS, OCTETS, HOT_2, HOT_3 };
#define LINK_NO_RULE HOT_2
#define RULE_LAST_TIME HOT_2
#define RULE_LAST_SOURCE HOT_3
#define OUTPUT_TTL HOT_2
enum cold_of_input {
	FRAGMENT, MALFORMED, OVERSIZE, SOURCE, OWN,
	TAGGED, OTHER_DEVICE = TAGGED + 3, OTHER_PORT = OTHER_DEVICE + 3, // near misses: time, detail, packets
};
enum cold_of_output {
	ERROR_EMSGSIZE, ERROR_ENETDOWN, ERROR_ENOBUFS, ERROR_ENOMEM, ERROR_ENODEV, ERROR_OTHER, FIRST_FAULT,
};
#define LAST_ERROR_TIME 14
#define LAST_ERROR 15

struct flow_key {
	u32 ifindex, destination, source;
	u32 port; // WORD_OF, as in the other keys
};

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
	u8 macs[12]; // destination and source
	u16 ethertype;
	struct ip ip;
	struct udp udp;
};

// What differs from packet to packet is 0 in `headers`: lengths, identification, checksums; and TOS or TTL if the packet
// determines them.
struct output {
	u32 ifindex, cell, taker;
	u16 mtu;
	u8 flags, fault;
	u32 ip_sum, endpoint_sum; // of the words of 16 bits of the IP header; of addresses and ports
	struct headers headers;
	u32 unused;
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
	u32 address, port;
};

struct address_key {
	u32 ifindex, address, port;
};

struct address {
	u32 rule, flags;
};

// A map is known by its name alone: the loader puts its descriptor where the program loads its address.
extern const char flows, slots, chunks, own, own_addresses, addresses, links, epochs, hot, cold, scratches;
