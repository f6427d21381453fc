// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package testmachine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// AddVeth makes two interfaces that are the ends of one wire and switches them on,
// in the calling thread's network namespace: one of the test's own, please, which
// they end with.
func AddVeth(here, far string) error {
	name := func(n string) []byte { return attribute(unix.IFLA_IFNAME, append([]byte(n), 0)) }
	about := make([]byte, unix.SizeofIfInfomsg)
	const peer = 1 // VETH_INFO_PEER
	message := append(append([]byte{}, about...), name(here)...)
	message = append(message, attribute(unix.IFLA_LINKINFO,
		attribute(unix.IFLA_INFO_KIND, []byte("veth")),
		attribute(unix.IFLA_INFO_DATA, attribute(peer, about, name(far))))...)
	if err := routeRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, message); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	return errors.Join(SwitchOn(here), SwitchOn(far))
}

// attribute is one of a message to the kernel.
func attribute(kind uint16, payload ...[]byte) []byte {
	out := make([]byte, 4)
	for _, p := range payload {
		out = append(out, p...)
	}
	binary.NativeEndian.PutUint16(out, uint16(len(out)))
	binary.NativeEndian.PutUint16(out[2:], kind)
	return append(out, make([]byte, -len(out)&3)...)
}

// MoveTo moves an interface to another network namespace, of which namespace is a
// descriptor. It is switched off there.
func MoveTo(name string, namespace int) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	about := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(about[4:], uint32(i.Index))
	message := append(about, attribute(unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(namespace)))...)
	if err := routeRequest(unix.RTM_NEWLINK, 0, message); err != nil {
		return fmt.Errorf("move %s: %w", name, err)
	}
	return nil
}

// SetAddress gives an interface an IPv4 address. A name with a colon and a number
// behind it is for another one of the same interface.
func SetAddress(name string, address netip.Prefix) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	for _, set := range []struct {
		command uint
		value   []byte
	}{{unix.SIOCSIFADDR, address.Addr().AsSlice()}, {unix.SIOCSIFNETMASK, net.CIDRMask(address.Bits(), 32)}} {
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		err = request.SetInet4Addr(set.value)
		if err == nil {
			err = unix.IoctlIfreq(s, set.command, request)
		}
		if err != nil {
			return fmt.Errorf("set the address of %s: %w", name, err)
		}
	}
	return nil
}

// SwitchOn switches an interface on.
func SwitchOn(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("switch %s on: %w", name, err)
	}
	return nil
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
