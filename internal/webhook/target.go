// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// metadata are the addresses, besides the link-local ones, at which clouds hand out a
// machine's credentials: Alibaba Cloud, Oracle Cloud, Azure (the WireServer), and AWS over IPv6, each
// from the provider's documentation of its instance metadata service.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("fd00:ec2::/32"),          // AWS: metadata, and the credentials of EKS pods
	netip.MustParsePrefix("fd20:ce::254/128"),       // Google Cloud over IPv6
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle Cloud over IPv6
	netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway over IPv6
	netip.MustParsePrefix("64:ff9b:1::/48"),         // RFC 8215: where in it an IPv4 address is embedded is anybody's choice
}

// embedding are prefixes in which an IPv4 address is embedded, and at which byte: RFC 6052,
// 6to4 (RFC 3056), IPv4-compatible (RFC 4291) and IPv4-translated (RFC 2765) addresses.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
	{netip.MustParsePrefix("::/96"), 12},
}

// ErrTarget is wrapped by the refusal of an address.
var ErrTarget = errors.New("refused as a target: it is a link-local or cloud-metadata address (allow_link_local permits it)")

// CheckAddress returns an error for an address at which no webhook should be.
func CheckAddress(a netip.Addr) error {
	a = a.WithZone("").Unmap()
	for _, e := range embedding {
		if a.Is6() && e.prefix.Contains(a) && !a.IsLoopback() && !a.IsUnspecified() {
			b := a.As16()
			a = netip.AddrFrom4([4]byte(b[e.at : e.at+4]))
		}
	}
	bad := a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
	for _, p := range metadata {
		bad = bad || p.Contains(a)
	}
	if bad {
		return fmt.Errorf("%s: %w", a, ErrTarget)
	}
	return nil
}

// ParseURL parses and checks the URL of a target as far as can be told without looking
// anything up.
func ParseURL(text string, allowLinkLocal bool) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is not a URL") // the error would show it, secrets included
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("must begin with http:// or https://, not %q", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("names no host")
	case u.User != nil:
		return nil, errors.New("must not hold a password: set headers::Authorization")
	case allowLinkLocal:
		return u, nil
	}
	name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if name == "metadata" || strings.HasSuffix(name, ".internal") && strings.HasPrefix(name, "metadata.") {
		return nil, fmt.Errorf("%s: %w", name, ErrTarget)
	}
	if a, err := netip.ParseAddr(name); err == nil {
		if err := CheckAddress(a); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// newClient returns a client that connects to no address it should not, whatever a name
// resolves to when it does, and goes nowhere else.
func newClient(s *Settings) *http.Client {
	dialer := &net.Dialer{Timeout: s.Timeout}
	if !s.AllowLinkLocal {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%s: %w", address, err)
			}
			return CheckAddress(at.Addr())
		}
	}
	return &http.Client{
		Timeout: s.Timeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: s.TLS, ForceAttemptHTTP2: true,
			MaxIdleConns: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
