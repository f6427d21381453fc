// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// waitingFor is what tasks of a cgroup wait for.
var waitingFor = [...]string{"cpu", "memory", "io"}

// leastWait is the share of time below which waiting is not worth a word.
const leastWait = 0.05

// waits is, of some cgroups, for how long tasks have waited so far: the kernel's
// own word for what a fault does to them, in µs.
type waits struct {
	at     int64
	groups []*stage.Cgroup
	totals []uint64 // by group and resource
}

func takeWaits(groups []*stage.Cgroup) *waits {
	w := &waits{at: now(), groups: groups}
	for _, g := range groups {
		for _, resource := range waitingFor {
			text, _ := os.ReadFile(filepath.Join(g.Dir, resource+".pressure")) // a cgroup that is gone waits no more
			w.totals = append(w.totals, someTotal(string(text)))
		}
	}
	return w
}

// someTotal is the total of the line `some` of a pressure file.
func someTotal(text string) uint64 {
	for line := range strings.Lines(text) {
		if _, total, ok := strings.Cut(line, "total="); ok && strings.HasPrefix(line, "some ") {
			n, _ := strconv.ParseUint(strings.TrimSpace(total), 10, 64)
			return n
		}
	}
	return 0
}

// since lists who has waited for what since before, and for which share of time.
func (w *waits) since(before *waits) (lines []string) {
	elapsed := float64(w.at-before.at) / 1e3
	for i, total := range w.totals {
		if was := before.totals[i]; total > was {
			if share := float64(total-was) / elapsed; share >= leastWait {
				lines = append(lines, fmt.Sprintf("%s for %s %.0f %%", filepath.Base(w.groups[i/len(waitingFor)].Dir), waitingFor[i%len(waitingFor)], 100*share))
			}
		}
	}
	return lines
}

// whoWaits are the cgroups of a scenario whose waiting is told, the neighbour first.
func (p *play) whoWaits(s *containment.Scenario) []*stage.Cgroup {
	groups := []*stage.Cgroup{p.neighbour}
	for _, u := range s.Units {
		if u.Elsewhere {
			continue
		}
		groups = append(groups, p.units[u.Name].group)
	}
	return groups
}
