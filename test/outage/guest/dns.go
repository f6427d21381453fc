// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"
)

// NameServer answers for one name, 127.0.0.1, until it is told to be gone. It is the
// machine's.
type NameServer struct {
	conn net.PacketConn
	gone atomic.Bool
}

// ServeNames makes the machine ask a name server of ours.
func ServeNames() (*NameServer, error) {
	n, err := serveNames("127.0.0.1:53")
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"/etc/resolv.conf":   "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
		"/etc/nsswitch.conf": "hosts: files dns\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			n.Close()
			return nil, err
		}
	}
	return n, nil
}

func serveNames(address string) (*NameServer, error) {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	n := &NameServer{conn: conn}
	go n.serve()
	return n, nil
}

// Gone says whether queries stay unanswered.
func (n *NameServer) Gone(gone bool) { n.gone.Store(gone) }

// Close ends it.
func (n *NameServer) Close() { _ = n.conn.Close() }

func (n *NameServer) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if n.gone.Load() || m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.RecursionAvailable = true, true
		m.Additionals = nil
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = n.conn.WriteTo(answer, from)
		}
	}
}
