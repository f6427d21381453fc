// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

const (
	delugeTurn  = 2 * time.Millisecond // how often it sends
	delugeBatch = 64                   // frames that one system call sends at most
	delugeLate  = 10                   // turns that it makes up for at most
)

// deluge sends datagrams of 22 bytes from any of many sources at a rate, as frames
// that it makes itself: what a machine elsewhere sends costs little here.
func deluge(ctx context.Context, args []string) error {
	var to, link, hardware, from string
	var rate int
	var span time.Duration
	err := parse("deluge", args, func(f *flag.FlagSet) {
		f.StringVar(&to, "to", "", "`address` and port")
		f.StringVar(&link, "link", "", "`interface` to send through")
		f.StringVar(&hardware, "hardware", "", "`address` on the link of who is flooded")
		f.StringVar(&from, "from", "", "`prefix` of the sources")
		f.IntVar(&rate, "rate", 0, "datagrams a second")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
	}
	target, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	sources, err := netip.ParsePrefix(from)
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(hardware)
	if err != nil {
		return err
	}
	socket, err := packetSocket(link)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	frames := newFrames(mac, target)
	if err := await(); err != nil {
		return err
	}
	began()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	turns := time.NewTicker(delugeTurn)
	defer turns.Stop()
	owed, last := 0., workload.Now()
	for {
		select {
		case <-bound.Done():
			return stay(ctx)
		case <-turns.C:
		}
		now := workload.Now()
		owed = min(owed+float64(rate)*float64(now-last)/1e9, float64(rate)*(delugeLate*delugeTurn).Seconds())
		for last = now; owed >= 1; owed -= float64(min(int(owed), delugeBatch)) {
			frames.send(socket, sources, min(int(owed), delugeBatch))
		}
	}
}

// packetSocket is a socket for whole frames on an interface.
func packetSocket(link string) (int, error) {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return -1, fmt.Errorf("find %s: %w", link, err)
	}
	// It receives nothing.
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(socket, &unix.SockaddrLinklayer{Ifindex: l.Index})
	}
	if err != nil {
		return -1, fmt.Errorf("open a packet socket on %s: %w", link, err)
	}
	return socket, nil
}

const (
	ethernetHeader = 14
	ipHeader       = 20
	udpHeader      = 8
	delugePayload  = 22
	frameSize      = ethernetHeader + ipHeader + udpHeader + delugePayload
)

// frames are those of one system call.
type frames struct {
	bytes    [delugeBatch][frameSize]byte
	parts    [delugeBatch]unix.Iovec
	messages [delugeBatch]message
}

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	sent   uint32
	_      [4]byte
}

// newFrames fills in what does not change: Ethernet, IPv4 and UDP, without a
// checksum of the latter.
func newFrames(mac net.HardwareAddr, target netip.AddrPort) *frames {
	f := &frames{}
	for i := range f.bytes {
		b := f.bytes[i][:]
		copy(b, mac)
		copy(b[6:], []byte{2, 0, 0, 0, 0, 9}) // locally administered
		binary.BigEndian.PutUint16(b[12:], unix.ETH_P_IP)
		ip := b[ethernetHeader:]
		ip[0], ip[8], ip[9] = 4<<4|ipHeader/4, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(ip[2:], frameSize-ethernetHeader)
		copy(ip[16:], target.Addr().AsSlice())
		udp := ip[ipHeader:]
		binary.BigEndian.PutUint16(udp[2:], target.Port())
		binary.BigEndian.PutUint16(udp[4:], udpHeader+delugePayload)
		f.parts[i] = unix.Iovec{Base: &b[0], Len: frameSize}
		f.messages[i].header = unix.Msghdr{Iov: &f.parts[i], Iovlen: 1}
	}
	return f
}

// address gives a frame its source.
func (f *frames) address(i int, source uint32, port uint16) {
	ip := f.bytes[i][ethernetHeader:]
	binary.BigEndian.PutUint32(ip[12:], source)
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ipHeader]))
	binary.BigEndian.PutUint16(ip[ipHeader:], port)
}

// send sends n frames, each from any of the sources. A queue that is full is no
// reason for a deluge to end.
func (f *frames) send(socket int, sources netip.Prefix, n int) {
	network, hosts := binary.BigEndian.Uint32(sources.Masked().Addr().AsSlice()), uint64(1)<<(32-sources.Bits())
	for i := range n {
		f.address(i, network|uint32(rand.Uint64N(hosts)), uint16(1024+rand.IntN(60000)))
	}
	_, _, _ = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(socket), uintptr(unsafe.Pointer(&f.messages[0])), uintptr(n), 0, 0, 0)
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum&0xffff)
}
