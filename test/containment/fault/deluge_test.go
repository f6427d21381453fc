// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAFrameOfADelugeIsWhole(t *testing.T) {
	f := newFrames(net.HardwareAddr{2, 0, 10, 99, 0, 1}, netip.MustParseAddrPort("10.99.0.1:9000"))
	f.address(3, 0xc6120003, 1025) // 198.18.0.3
	b := f.bytes[3][:]
	assert.Len(t, b, 64)
	assert.Equal(t, "02000a630001"+"020000000009"+"0800", hex.EncodeToString(b[:14]))
	assert.Equal(t, "4500003200000000"+"4011"+"aa42"+"c6120003"+"0a630001", hex.EncodeToString(b[14:34]))
	assert.Zero(t, checksum(b[14:34]), "of a header with its checksum")
	assert.Equal(t, "0401"+"2328"+"001e"+"0000", hex.EncodeToString(b[34:42]))
	f.address(3, 0xc6120004, 1026)
	assert.Zero(t, checksum(b[14:34]), "a new source has a new one")
}
