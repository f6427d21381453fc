// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// jobWindow is how long the fewest tasks of a cgroup are remembered at least;
	// twice that at most.
	jobWindow = 5 * int64(time.Second)
	// jobTasks is by how many tasks a cgroup must have grown, and to twice as many, to
	// have begun something: less is a pool that follows its load.
	jobTasks = 8
	// jobLasts is for how long after that the growth is taken for that of a beginning.
	jobLasts = 2 * int64(time.Second)
	// imminent is the time left at which what begins is not waited for any more.
	imminent = 2 * time.Second
)

// jobs knows which cgroups have just started many tasks: a build, a batch, a pool of
// workers. What these take at first, all at once, is a beginning as that of a cgroup
// is, and says little of where it will end.
type jobs struct {
	perSlot[job]
	table *table
	began int64 // the present
}

// job is the fewest tasks of one cgroup, in two parts, and when there were last many
// more.
type job struct {
	fewest [2]uint64
	many   int64
}

func newJobs(t *table) *jobs {
	j := &jobs{table: t}
	j.blank.fewest = [2]uint64{arc.Absent, arc.Absent}
	t.add(j, 0)
	return j
}

// observe follows the tasks at instant now.
func (j *jobs) observe(now int64, s *arc.Sample) {
	turn := now-j.began >= jobWindow
	if turn {
		j.began = now
	}
	for row, slot := range j.table.last {
		if slot < 0 {
			continue
		}
		one, tasks := &j.of[slot], s.Cgroups.Value(arc.CgroupPids, row)
		if tasks == arc.Absent {
			continue
		}
		if turn {
			one.fewest[1], one.fewest[0] = one.fewest[0], tasks
		}
		one.fewest[0] = min(one.fewest[0], tasks)
		// Who had none is started again.
		if few := min(one.fewest[0], one.fewest[1]); few > 0 && tasks >= few+max(few, jobTasks) {
			one.many = now
		}
	}
}

// begun says that slot has just started many tasks.
func (j *jobs) begun(slot int32, now int64) bool {
	many := j.of[slot].many
	return many != 0 && now-many <= jobLasts
}
