// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/containment"
)

const (
	insideLink  = "reflex0"
	outsideLink = "reflex1"
)

// network is a veth pair from here into another network namespace.
type network struct {
	index int // of the interface on this side
}

// has says that an interface is ours; without a network none is.
func (n *network) has(index uint32) bool { return n != nil && n.index == int(index) }

// startNetwork makes the namespace, for roles that are elsewhere, and the pair.
func startNetwork() (*network, error) {
	if err := newNamespace(containment.OutsideNamespace); err != nil {
		return nil, err
	}
	outside, err := netns.GetFromPath(containment.OutsideNamespace)
	if err != nil {
		return nil, err
	}
	defer func() { _ = outside.Close() }()
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: insideLink}, PeerName: outsideLink, PeerNamespace: netlink.NsFd(int(outside)),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make a veth pair: %w", err)
	}
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer here.Close()
	there, err := netlink.NewHandleAt(outside, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if _, err := raise(there, outsideLink, containment.OutsideAddress); err != nil {
		return nil, err
	}
	index, err := raise(here, insideLink, containment.InsideAddress)
	return &network{index}, err
}

// raise gives an interface its address, sets it up and returns its index.
func raise(h *netlink.Handle, name, ip string) (int, error) {
	l, err := h.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(24, 32)}}
	if err := h.AddrAdd(l, address); err != nil {
		return 0, fmt.Errorf("give %s the address %s: %w", name, ip, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return 0, fmt.Errorf("set %s up: %w", name, err)
	}
	return l.Attrs().Index, nil
}

// newNamespace makes a network namespace that lives at path.
func newNamespace(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return fmt.Errorf("make the network namespace %s: %w", path, err)
	}
	return nil
}
