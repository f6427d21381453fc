// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupstat"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// lookInterval is the least time between two looks at a cgroup that moves; the
// kernel refreshes what is seen there no more often.
const lookInterval = int64(sources.LookAge)

// look fills the columns of a sample that are too costly for every cgroup at
// every tick: of every row of a full sweep, and of a mover that was not looked at
// for a while. The values are as old as the delivery, which writes them at once;
// no other delivery repeats them. It is used by the delivery goroutine only.
type look struct {
	reader     *cgroupstat.Reader
	identities *identities
}

func newLook(ids *identities, wanted [arc.NumCgroupFields]bool) *look {
	return &look{reader: cgroupstat.New("/sys", wanted), identities: ids}
}

// at looks at the cgroups of rows, whose identities are known.
func (l *look) at(s *arc.Sample, rows []int, sweep string) {
	l.reader.Clear(&s.Cgroups)
	if l.identities.root == nil || !l.reader.Wanted() {
		return
	}
	for _, row := range rows {
		known := l.identities.of(s.Cgroups.ID[row])
		if known == nil || sweep != sweepFull && s.Taken < known.lookDue {
			continue
		}
		known.lookDue = s.Taken + lookInterval
		l.read(s, row, known.path)
	}
}

// read reads one cgroup, unless another has taken its path.
func (l *look) read(s *arc.Sample, row int, path string) {
	d, err := l.identities.root.OpenPath(path)
	if err != nil {
		return
	}
	defer d.Close()
	if d.ID() == s.Cgroups.ID[row] {
		l.reader.Read(d, &s.Cgroups, row)
	}
}
