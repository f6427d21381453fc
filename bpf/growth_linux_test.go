// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// growth is how much a counter of ours grew during a load, and the least and the
// most that another source grew meanwhile: it is read before and after each of
// our readings.
type growth struct{ low, ours, high float64 }

func grow(t *testing.T, n *Node, field arc.NodeField, source func() float64, load func()) growth {
	t.Helper()
	first := source()
	ours := read(t, n, field)
	second := source()
	load()
	third := source()
	ours = read(t, n, field) - ours
	g := growth{third - second, ours, source() - first}
	t.Logf("%s: +%g, elsewhere +%g to +%g", arc.NodeFields[field].Name, g.ours, g.low, g.high)
	return g
}

// Tasks created are those of /proc/stat, which does not count what failed late:
// between the two, and eight more.
func TestForksAgreeWithProcStat(t *testing.T) {
	n := openNode(t)
	g := grow(t, n, arc.NodeForks, func() float64 { return procStat(t, "processes")[0] }, func() {
		for range 20 {
			require.NoError(t, startSpinner(t, 0, -1).Wait())
		}
	})
	assert.GreaterOrEqual(t, g.ours, g.low)
	assert.LessOrEqual(t, g.ours, g.high+8)
	assert.GreaterOrEqual(t, g.low, 20.0)
}

// Requests and bytes, those discarded among them, are those of /proc/diskstats within a
// twentieth and 16 requests or 1 MiB, as requests are counted at two places on their way.
func TestBlockRequestsAgreeWithDiskstats(t *testing.T) {
	const size = 16 << 20
	n := openNode(t)
	path := filepath.Join(t.TempDir(), "file")
	onDisk(t, filepath.Dir(path))
	require.NoError(t, os.WriteFile(path, make([]byte, size), 0o600))
	load := func() {
		done := make(chan struct{})
		time.AfterFunc(200*time.Millisecond, func() { close(done) })
		if err := readUncached(path, size, done); errors.Is(err, unix.EINVAL) {
			t.Skipf("files here cannot be read uncached: %v", err)
		} else {
			require.NoError(t, err)
		}
	}
	for field, tc := range map[arc.NodeField]struct {
		source    func() float64
		tolerance float64
	}{
		arc.NodeBlockOperations: {func() float64 { return diskstats(t, 0, 4, 11, 15) }, 16},
		arc.NodeBlockBytes:      {func() float64 { return 512 * diskstats(t, 2, 6, 13) }, 1 << 20},
	} {
		g := grow(t, n, field, tc.source, load)
		assert.GreaterOrEqual(t, g.ours, 0.95*g.low-tc.tolerance)
		assert.LessOrEqual(t, g.ours, 1.05*g.high+tc.tolerance)
		assert.Greater(t, g.low, 2*tc.tolerance, "the load reads from the disk")
	}
}

var wholeDisk = regexp.MustCompile(`^(vd[a-z]|sd[a-z]|xvd[a-z]|nvme\d+n\d+|mmcblk\d+)$`)

// diskstats sums columns over disks.
func diskstats(t *testing.T, columns ...int) (sum float64) {
	t.Helper()
	text, err := os.ReadFile("/proc/diskstats")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 || !wholeDisk.MatchString(f[2]) {
			continue
		}
		for _, c := range columns {
			if 3+c < len(f) {
				sum += float64(parse(t, f[3+c]))
			}
		}
	}
	return sum
}
