// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

// Two interfaces that are the ends of one wire, in the thread's network namespace.
const (
	hereEnd = "here"
	farEnd  = "far"
)

// addVeth makes them. hereEnd has the address 10.99.0.1/24.
func addVeth() error {
	if err := testmachine.AddVeth(hereEnd, farEnd); err != nil {
		return err
	}
	return testmachine.SetAddress(hereEnd, netip.MustParsePrefix("10.99.0.1/24"))
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
