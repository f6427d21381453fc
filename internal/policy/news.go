// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// familiar is for how long a cgroup is watched before what it never did is news.
	familiar = 10 * int64(time.Minute)
	// presentFor is how much of the latest usage is no past yet: once or twice. By
	// more than [notable], and more than a sixteenth, must it pass what was.
	presentFor = 10 * int64(time.Second)
	sixteenth  = 4 // as a shift
)

// news knows the most that every cgroup has used so far. An anomaly of one workload
// may be none of its node: on a machine that builds all day, memory that grows is
// nothing new, but it is of a service that has never done so.
type news struct {
	perSlot[past]
	table *table
	began int64 // the present
}

// past is that of one cgroup, and its present, in two parts.
type past struct {
	since   int64 // when it was first seen
	most    uint64
	present [2]uint64
}

func newNews(t *table) *news {
	n := &news{table: t}
	t.add(n, 0)
	return n
}

// observe follows usage at instant now. Without learn what is used becomes no past.
func (n *news) observe(now int64, s *arc.Sample, learn bool) {
	turn := now-n.began >= presentFor
	if turn {
		n.began = now
	}
	for row, slot := range n.table.last {
		if slot < 0 {
			continue
		}
		p, usage := &n.of[slot], taken(s, row)
		if usage == arc.Absent {
			continue
		}
		switch {
		case p.since == 0:
			p.since = now
		case !learn:
			p.present = [2]uint64{}
			continue
		case turn:
			p.most, p.present[1], p.present[0] = max(p.most, p.present[1]), p.present[0], 0
		}
		p.present[0] = max(p.present[0], usage)
	}
}

// tells says that usage of slot, memory and swap, which has been watched for long, is news.
func (n *news) tells(slot int32, now int64, usage uint64) bool {
	p := &n.of[slot]
	return p.since != 0 && now-p.since >= familiar && usage != arc.Absent && usage > p.most+max(p.most>>sixteenth, notable)
}
