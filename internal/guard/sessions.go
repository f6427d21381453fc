// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/bpf"
)

// maxSessions bounds the TCP sessions that a shield keeps.
const maxSessions = 1 << 16

const (
	sockDiagByFamily = 20 // include/uapi/linux/sock_diag.h

	// tcpSessionStates are those in which both ends have answered: from
	// established to closing, without those that anybody can make with one packet.
	tcpSessionStates = 1<<1 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11
)

// socketID is struct inet_diag_sockid (include/uapi/linux/inet_diag.h): ports and
// addresses as on the wire.
type socketID struct {
	localPort, remotePort [2]byte
	local, remote         [16]byte
	_                     uint32
	_                     [2]uint32
}

// diagRequest is a netlink header and struct inet_diag_req_v2.
type diagRequest struct {
	header           unix.NlMsghdr
	family, protocol uint8
	_, _             uint8
	states           uint32
	_                socketID
}

// diagAnswer is struct inet_diag_msg, as far as it is read.
type diagAnswer struct {
	family, state, _, _ uint8
	id                  socketID
}

// tcpSessions returns the TCP sessions of this network namespace, at most limit.
func tcpSessions(limit int) ([]bpf.Session, error) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("list TCP sessions: %w", err)
	}
	defer unix.Close(s)
	wait := unix.Timeval{Sec: 1} // the kernel answers at once or not at all
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return nil, fmt.Errorf("list TCP sessions: %w", err)
	}
	var found []bpf.Session
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if found, err = dumpSessions(s, family, found, limit); err != nil {
			return nil, fmt.Errorf("list TCP sessions: %w", err)
		}
	}
	return found, nil
}

func dumpSessions(s int, family uint8, found []bpf.Session, limit int) ([]bpf.Session, error) {
	request := diagRequest{family: family, protocol: unix.IPPROTO_TCP, states: tcpSessionStates}
	request.header = unix.NlMsghdr{
		Len: uint32(unsafe.Sizeof(request)), Type: sockDiagByFamily, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP, Seq: uint32(family),
	}
	if err := unix.Sendto(s, unsafe.Slice((*byte)(unsafe.Pointer(&request)), unsafe.Sizeof(request)), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return found, err
	}
	buffer := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(s, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return found, err
		}
		var done bool
		if found, done, err = readSessions(buffer[:n], family, found, limit); err != nil || done {
			return found, err
		}
	}
}

// readSessions reads one datagram of answers.
func readSessions(datagram []byte, family uint8, found []bpf.Session, limit int) (_ []bpf.Session, done bool, err error) {
	const header = unix.SizeofNlMsghdr
	for len(datagram) >= header {
		length := int(binary.NativeEndian.Uint32(datagram))
		kind, sequence := binary.NativeEndian.Uint16(datagram[4:]), binary.NativeEndian.Uint32(datagram[8:])
		if length < header || length > len(datagram) {
			return found, true, errors.New("an answer is cut off")
		}
		body := datagram[header:length]
		datagram = datagram[min((length+3)&^3, len(datagram)):]
		if sequence != uint32(family) {
			continue
		}
		switch {
		case kind == unix.NLMSG_DONE:
			return found, true, nil
		case kind == unix.NLMSG_ERROR && len(body) >= 4:
			return found, true, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
		case kind != sockDiagByFamily || len(body) < int(unsafe.Sizeof(diagAnswer{})) || len(found) >= limit:
			continue
		}
		answer := (*diagAnswer)(unsafe.Pointer(&body[0]))
		found = append(found, bpf.Session{
			Remote:    netip.AddrPortFrom(addressOf(answer.family, answer.id.remote), binary.BigEndian.Uint16(answer.id.remotePort[:])),
			LocalPort: binary.BigEndian.Uint16(answer.id.localPort[:]),
		})
	}
	return found, false, nil
}

func addressOf(family uint8, address [16]byte) netip.Addr {
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(address[:4]))
	}
	return netip.AddrFrom16(address).Unmap()
}
