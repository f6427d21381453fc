// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Link is a network of two: this machine, and a namespace in which a backend listens.
type Link struct {
	near netlink.Link
	far  netns.NsHandle
}

const (
	nearAddress = "10.99.0.1/24"
	farAddress  = "10.99.0.2/24"
	farHost     = "10.99.0.2"
)

// Connect makes the link.
func Connect() (l *Link, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer func() { _ = home.Close() }()
	far, err := netns.New() // and this thread is in it
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	defer func() {
		err = errors.Join(err, netns.Set(home))
		if err != nil {
			_ = far.Close()
		}
	}()
	inFar, err := netlink.NewHandleAt(far, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	inHome, err := netlink.NewHandleAt(home, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far", PeerNamespace: netlink.NsFd(int(far))}
	if err := inHome.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make a link: %w", err)
	}
	l = &Link{far: far}
	for _, end := range []struct {
		in            *netlink.Handle
		name, address string
	}{{inHome, "near", nearAddress}, {inFar, "far", farAddress}} {
		link, err := end.in.LinkByName(end.name)
		if err != nil {
			return nil, err
		}
		address, err := netlink.ParseAddr(end.address)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(end.in.AddrAdd(link, address), end.in.LinkSetUp(link)); err != nil {
			return nil, err
		}
		if end.name == "near" {
			l.near = link
		}
	}
	return l, nil
}

// Listen listens at the far end.
func (l *Link) Listen() (net.Listener, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer func() { _ = home.Close() }()
	if err := netns.Set(l.far); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", farHost+":0")
	return listener, errors.Join(err, netns.Set(home))
}

// Cut takes the link down.
func (l *Link) Cut() error { return netlink.LinkSetDown(l.near) }

// Mend takes it up again.
func (l *Link) Mend() error { return netlink.LinkSetUp(l.near) }

// Close takes it away.
func (l *Link) Close() {
	_ = netlink.LinkDel(l.near)
	_ = l.far.Close()
}
