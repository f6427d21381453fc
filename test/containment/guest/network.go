// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
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
	insideLink = "reflex0"
	// routerLink leads from the outside on, to farLink.
	routerLink    = "reflex2"
	farLink       = "reflex3"
	routerAddress = "10.98.0.1"
	// queueLength is less than one socket may have under way: a flood would wait for
	// itself otherwise, and lose nobody a packet.
	queueLength = 20
)

// network is a veth pair from here into another network namespace, and one from
// there on into a third.
type network struct {
	index int // of the interface on this side
	// outside is what may be done in the second, and onward the index there of the
	// interface that leads on.
	outside *netlink.Handle
	onward  int
}

// has says that an interface is ours.
func (n *network) has(index uint32) bool { return n.index == int(index) }

// elsewhere is how a role runs in another namespace.
func (p *play) elsewhere(namespace string, role ...string) []string {
	return append([]string{p.Self, "elsewhere", namespace}, role...)
}

// narrow has only so many bytes a second go on from the outside. What is dropped
// for it is dropped where no interface here counts it.
func (n *network) narrow(rate int) (widen func() error, err error) {
	const burst = 8 << 10
	bucket := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: n.onward, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       uint64(rate), Limit: 1 << 20, Buffer: netlink.Xmittime(uint64(rate), burst),
	}
	if err := n.outside.QdiscAdd(bucket); err != nil {
		return nil, fmt.Errorf("make %s narrow: %w", routerLink, err)
	}
	// Its queue has room for queueLength packets, whatever their size.
	queue := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: n.onward, Handle: netlink.MakeHandle(2, 0), Parent: netlink.MakeHandle(1, 1)}, QdiscType: "pfifo",
	}
	widen = func() error { return n.outside.QdiscDel(bucket) }
	if err := n.outside.QdiscAdd(queue); err != nil {
		return nil, errors.Join(fmt.Errorf("make the queue of %s short: %w", routerLink, err), widen())
	}
	return widen, nil
}

// startNetwork makes the namespaces, for roles that are elsewhere, and the pairs.
func startNetwork() (*network, error) {
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer here.Close()
	outside, outsideSpace, err := newNamespace(containment.OutsideNamespace)
	if err != nil {
		return nil, err
	}
	far, farSpace, err := newNamespace(containment.FarNamespace)
	if err != nil {
		return nil, err
	}
	defer far.Close()
	n := &network{outside: outside}
	hardware, err := net.ParseMAC(containment.InsideHardware)
	if err != nil {
		return nil, err
	}
	for _, pair := range []struct {
		near, there   *netlink.Handle
		into          netns.NsHandle
		link, peer    string
		address, next string
		hardware      net.HardwareAddr
		index         *int
	}{
		{here, outside, outsideSpace, insideLink, containment.OutsideLink, containment.InsideAddress, containment.OutsideAddress, hardware, &n.index},
		{outside, far, farSpace, routerLink, farLink, routerAddress, containment.FarAddress, nil, &n.onward},
	} {
		link := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: pair.link, HardwareAddr: pair.hardware, TxQLen: queueLength},
			PeerName:  pair.peer, PeerNamespace: netlink.NsFd(int(pair.into)),
		}
		if err := pair.near.LinkAdd(link); err != nil {
			return nil, fmt.Errorf("make the veth pair %s: %w", pair.link, err)
		}
		if *pair.index, err = raise(pair.near, pair.link, pair.address); err != nil {
			return nil, err
		}
		if _, err := raise(pair.there, pair.peer, pair.next); err != nil {
			return nil, err
		}
	}
	return n, errors.Join(
		route(here, containment.FarAddress, containment.OutsideAddress),
		route(far, containment.InsideAddress, routerAddress),
	)
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

// route has the /24 around an address be got at through another one.
func route(h *netlink.Handle, to, through string) error {
	mask := net.CIDRMask(24, 32)
	r := &netlink.Route{Dst: &net.IPNet{IP: net.ParseIP(to).Mask(mask), Mask: mask}, Gw: net.ParseIP(through)}
	if err := h.RouteAdd(r); err != nil {
		return fmt.Errorf("make a route to %s: %w", r.Dst, err)
	}
	return nil
}

// newNamespace makes a network namespace, which forwards, that lives at path.
func newNamespace(path string) (*netlink.Handle, netns.NsHandle, error) {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, 0, err
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600)
		}
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, 0, fmt.Errorf("make the network namespace %s: %w", path, err)
	}
	space, err := netns.GetFromPath(path)
	if err != nil {
		return nil, 0, fmt.Errorf("open the network namespace %s: %w", path, err)
	}
	h, err := netlink.NewHandleAt(space, unix.NETLINK_ROUTE)
	return h, space, err
}
