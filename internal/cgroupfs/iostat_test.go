// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDevicesThatComeAndGoAreForgotten(t *testing.T) {
	d := NewDevices(t.TempDir())
	for i := range uint32(2 * maxDevices) {
		d.Counts(Device{8, i})
	}
	assert.LessOrEqual(t, len(d.counted), maxDevices)
}

func TestIOIsCountedWhereItEnds(t *testing.T) {
	sys := t.TempDir()
	links := filepath.Join(sys, "dev/block")
	require.NoError(t, os.MkdirAll(filepath.Join(links, "252:0/slaves/vda"), 0o755)) // bcache
	require.NoError(t, os.MkdirAll(filepath.Join(links, "8:0/slaves"), 0o755))
	require.NoError(t, os.Symlink("../../devices/virtual/block/loop0", filepath.Join(links, "7:0")))
	d := NewDevices(sys)
	text := []byte("252:0 rbytes=1\n\nnonsense\n8:0 rbytes=4096 wbytes=100 rios=1 wios=2 dbytes=8 dios=9\n7:0 rbytes=1 wbytes=1\n259:7 wbytes=5")
	var all []IO
	for io, rest, ok := d.Next(text); ok; io, rest, ok = d.Next(rest) {
		all = append(all, io)
	}
	assert.Equal(t, []IO{{Device{8, 0}, 4096, 100, 1, 2}, {Device: Device{259, 7}, WriteBytes: 5}}, all)
	assert.Zero(t, testing.AllocsPerRun(10, func() { d.Next(text) }))
	for _, bad := range []string{"", "8", "8:", ":0", "8:x", "4294967296:0"} {
		_, ok := ParseDevice([]byte(bad))
		assert.False(t, ok, bad)
	}
}
