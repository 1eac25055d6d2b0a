// A packet as it is read, and the memory of a run.

#pragma once

#include "layout.h"

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
	u32 vlan, option_octets;
	u32 verdict;
	u32 network;        // offset of the IP header
	u32 length;         // octets of the frame
	u32 payload;        // octets
	u32 segments;       // datagrams in the frame
	u32 segment;        // octets of IP of the longest of them
	u32 sum;            // of the UDP header and payload without addresses, ports and checksum
	u32 checksum;
	u32 may_be_complete; // the kernel may have the sum of all octets (CHECKSUM_COMPLETE), which must stay right
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
	u32 number, segment, index, rule, is_shared;
	u32 offset, rest, sum; // of the payload that is added up
	u32 decision; // of `ring_filter`, about the packet that the device `decided` has received in `epoch`
	u32 decided, epoch;
	u64 identity; // of that packet
	u64 tick, time; // the last tick in which a packet was relayed, and the time then
	int action;  // of tc, if the host's stack does not get the packet
	u32 has_extras;
	u32 is_busy; // a device sends a copy straight back to a device of an input, which the program ignores
	u16 probed;
	u8 octets[MAX_TAIL];
};

#define SCRATCH_OF_INGRESS 0
#define SCRATCH_OF_RING_FILTER 1
#define SCRATCH_OF_CLEAR 2

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
