// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Two interfaces that are the ends of one wire, in the thread's network namespace.
const (
	hereEnd = "here"
	farEnd  = "far"
)

// addVeth makes them and switches them on. hereEnd has the address 10.99.0.1/24.
func addVeth() error {
	attribute := func(kind uint16, payload ...[]byte) []byte {
		out := make([]byte, 4)
		for _, p := range payload {
			out = append(out, p...)
		}
		binary.NativeEndian.PutUint16(out, uint16(len(out)))
		binary.NativeEndian.PutUint16(out[2:], kind)
		return append(out, make([]byte, -len(out)&3)...)
	}
	name := func(n string) []byte { return attribute(unix.IFLA_IFNAME, append([]byte(n), 0)) }
	about := make([]byte, unix.SizeofIfInfomsg)
	const peer = 1 // VETH_INFO_PEER
	message := append(append([]byte{}, about...), name(hereEnd)...)
	message = append(message, attribute(unix.IFLA_LINKINFO,
		attribute(unix.IFLA_INFO_KIND, []byte("veth")),
		attribute(unix.IFLA_INFO_DATA, attribute(peer, about, name(farEnd))))...)
	if err := routeRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, message); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	for _, set := range []struct {
		command uint
		address []byte
	}{{unix.SIOCSIFADDR, []byte{10, 99, 0, 1}}, {unix.SIOCSIFNETMASK, []byte{255, 255, 255, 0}}} {
		request, err := unix.NewIfreq(hereEnd)
		if err != nil {
			return err
		}
		err = request.SetInet4Addr(set.address)
		if err == nil {
			err = unix.IoctlIfreq(s, set.command, request)
		}
		if err != nil {
			return fmt.Errorf("set the address: %w", err)
		}
	}
	return errors.Join(bringUp(hereEnd), bringUp(farEnd))
}

// routeRequest asks the kernel and waits for what it says.
func routeRequest(kind, flags uint16, payload []byte) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(payload))
	binary.NativeEndian.PutUint32(message, uint32(cap(message)))
	binary.NativeEndian.PutUint16(message[4:], kind)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	if err := unix.Sendto(s, append(message, payload...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel answered something else")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// tap sends and receives whole frames at one end of the wire.
type tap struct {
	socket int
	index  int
	mac    net.HardwareAddr
}

func tapOf(name string) (*tap, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0) // receives nothing before it is bound
	if err != nil {
		return nil, err
	}
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	wait := unix.NsecToTimeval(int64(200 * time.Millisecond))
	if err := errors.Join(unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(s, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})); err != nil {
		return nil, errors.Join(err, unix.Close(s))
	}
	return &tap{s, i.Index, i.HardwareAddr}, nil
}

func (p *tap) send(f frame) error {
	_, err := unix.Write(p.socket, f)
	return err
}

// receives counts the frames that arrive and are as long as f.
func (p *tap) receives(f frame) (n int, err error) {
	buffer := make([]byte, 4096)
	for {
		length, from, err := unix.Recvfrom(p.socket, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, err
		}
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype != unix.PACKET_OUTGOING && length == len(f) {
			n++
		}
	}
}

func (p *tap) close() { _ = unix.Close(p.socket) }
