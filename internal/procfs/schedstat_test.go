// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// schedstat is what the kernel says of CPUs, each with the seconds that tasks
// waited for it.
func schedstat(cpus map[int]int) []byte {
	var b strings.Builder
	b.WriteString("version 15\ntimestamp 1\n")
	for cpu := range 8 {
		if waited, ok := cpus[cpu]; ok {
			fmt.Fprintf(&b, "cpu%d 0 0 0 0 0 0 9 %d 1\ndomain0 3 0 0\n", cpu, waited*1_000_000_000)
		}
	}
	return []byte(b.String())
}

func TestRunQueueDelayOfACPUThatIsOfflineStays(t *testing.T) {
	r := &Reader{wanted: everything()}
	for _, step := range []struct {
		name string
		cpus map[int]int
		want float64
	}{
		{"at first, all that was", map[int]int{0: 100, 1: 50}, 150},
		{"both wait", map[int]int{0: 101, 1: 52}, 153},
		{"one is offline", map[int]int{0: 102}, 154},
		{"and stays so", map[int]int{0: 104}, 156},
		{"it is back, where it left off", map[int]int{0: 104, 1: 53}, 157},
		{"one of which nothing was known", map[int]int{0: 104, 1: 53, 3: 700}, 157},
		{"counts from then on", map[int]int{0: 104, 1: 53, 3: 702}, 159},
		{"a counter that goes back", map[int]int{0: 104, 1: 53, 3: 1}, 159},
		{"counts from where it is", map[int]int{0: 104, 1: 53, 3: 2}, 160},
	} {
		n := absent()
		r.parseSchedstat(schedstat(step.cpus), &n)
		assert.InDelta(t, step.want, n[arc.NodeRunQueueDelay], 1e-9, step.name)
	}
}

func TestACPUThatCannotBeCountsNothing(t *testing.T) {
	r := &Reader{wanted: everything()}
	n := absent()
	r.parseSchedstat([]byte("cpu 0 0 0 0 0 0 9 7 1\ncpu99999999 0 0 0 0 0 0 9 7 1\ncpux 0 0 0 0 0 0 9 7 1\n"), &n)
	assert.True(t, math.IsNaN(n[arc.NodeRunQueueDelay]))
	assert.Empty(t, r.delay.cpus)
}
