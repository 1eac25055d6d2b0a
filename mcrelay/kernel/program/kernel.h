// What the compiler and the kernel's own headers define, as far as it is used here.

#pragma once

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

// Return from a function that is verified by itself if a pointer is 0, which it never is.
#define CHECK_ARGUMENT(pointer) \
	UNKNOWN(pointer);       \
	if (!(pointer))         \
		return 0;

// Run a statement, which returns, unless 1 <= x <= most. Old verifiers learn nothing from `x != 0`.
#define CHECK_RANGE(x, most, otherwise) \
	x -= 1;                         \
	UNKNOWN(x);                     \
	if (x >= (most)) {              \
		otherwise               \
	}                               \
	x += 1;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BE16(x) ((u16)__builtin_bswap16(x))
#define BE32(x) __builtin_bswap32(x)
#define WORD_OF(first) ((u32)(first))
#else
#define BE16(x) ((u16)(x))
#define BE32(x) ((u32)(x))
#define WORD_OF(first) ((u32)(first) << 16)
#endif
// WORD_OF(x): the word of 32 bits that has `x` in the first 16 bits and then 0. A key is written in words: one that
// is read as a word at once, after it was written in parts, makes the CPU wait.

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
static s64 (*const csum_update)(struct __sk_buff *, u32 added) = (void *)40;
static long (*const skb_adjust_room)(struct __sk_buff *, int octets, u32 mode, u64) = (void *)50;
static u64 (*const jiffies)(void) = (void *)118;
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
