// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"sync"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

// snapshot is what the status page knows of the last tick.
type snapshot struct {
	Source    string
	Sequence  uint64
	WallTime  int64
	Taken     int64
	Interval  int64
	Cgroups   int
	Truncated uint32
	Judgement arc.Judgement
	Level     int
	Episode   episode.ID
	Opened    int64
	Harm      policy.Harm
	Control   arc.Control
	Leases    []policy.Lease
}

// snapshots hands the last tick to the page. The sampling goroutine never waits
// for a reader: while one copies, a tick is simply not published.
type snapshots struct {
	mu   sync.Mutex
	last snapshot
}

func (p *snapshots) publish(r *reflex, s *arc.Sample, j *arc.Judgement, d *policy.Decision) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	l := &p.last
	l.Source, l.Sequence, l.WallTime, l.Taken, l.Interval = s.Source, s.Sequence, s.WallTime, s.Taken, s.Interval
	l.Cgroups, l.Truncated = s.Cgroups.Len(), s.Cgroups.Truncated
	l.Judgement, l.Level, l.Harm, l.Control = *j, d.Level, d.Harm, d.Control
	l.Episode, l.Opened = episode.ID{}, 0
	if d.Level > policy.LevelNormal {
		l.Episode, l.Opened = r.episode, r.opened
	}
	l.Leases = r.policy.Leases(l.Leases[:0])
}

func (p *snapshots) read() snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.last
	out.Leases = append([]policy.Lease(nil), out.Leases...)
	return out
}

// durations is a bounded ring between the sampling goroutine, which measures,
// and the watchdog, which feeds the histogram: an instrument may allocate.
type durations struct {
	mu   sync.Mutex
	ring [1024]int64
	n    int
}

func (d *durations) add(ns int64) {
	if !d.mu.TryLock() {
		return
	}
	if d.n < len(d.ring) {
		d.ring[d.n] = ns
		d.n++
	}
	d.mu.Unlock()
}

// drain moves what was measured into into.
func (d *durations) drain(into []int64) []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	into = append(into[:0], d.ring[:d.n]...)
	d.n = 0
	return into
}
