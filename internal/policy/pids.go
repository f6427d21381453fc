// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// taskRules: tasks run out, of a pids.max or of the node's; who forks fastest is
// held by pids.max at what it has and a margin. Nothing that runs is touched.
type taskRules struct {
	*growth
	cfg      *Config
	forks    flow
	approach approach

	looks      looks
	ranks      []grower
	candidates []candidate
}

func newTaskRules(t *table, cfg *Config) *taskRules {
	return &taskRules{
		growth: newGrowth(t, arc.CgroupPids), cfg: cfg,
		ranks: make([]grower, 0, maxGrowers), candidates: make([]candidate, 0, MaxInspected),
	}
}

var taskLadder = []rung{{LevelContainment, arc.ActionPidsMax, time.Second}}

func (*taskRules) name() Resource                                     { return Tasks }
func (*taskRules) ladder(*candidate) []rung                           { return taskLadder }
func (*taskRules) end(*Policy, *lease, int32, *arc.Sample, bool) bool { return false }

func (k *taskRules) observe(s *arc.Sample, learn bool) {
	if len(s.Cgroups.Columns[arc.CgroupPids]) > 0 {
		k.follow(s.Taken, &s.Cgroups)
	}
	k.forks.observe(s.Taken, s.Node[arc.NodeForks], learn)
	if learn {
		k.approach = approach{}
	}
}

// project says what runs out first if slot keeps forking at rate tasks a second.
func (k *taskRules) project(slot int32, rate float64, s *arc.Sample) Harm {
	available, limit, _ := k.headroom(slot, arc.CgroupPids, arc.CgroupPidsMax, s)
	kind := HarmNone
	if limit < arc.Unlimited {
		kind = HarmTasksLimit
	}
	if most := k.cfg.NodeTasks; most > 0 {
		if left := most - min(most, k.everywhere(s)); left < available {
			available, limit, kind = left, most, HarmTasksNode
		}
	}
	return exhaust(kind, available, limit, rate)
}

// everywhere counts the tasks of the cgroups below the root, descendants
// included; the root itself is not counted by the kernel.
func (k *taskRules) everywhere(s *arc.Sample) uint64 {
	total := uint64(0)
	for i, n := range s.Cgroups.Columns[arc.CgroupPids] {
		if n != arc.Absent && len(s.Cgroups.ID) > 0 && s.Cgroups.Parent[i] == s.Cgroups.ID[0] {
			total += n
		}
	}
	return total
}

func (k *taskRules) judge(p *Policy, s *arc.Sample, inspector Inspector) verdict {
	v := verdict{resource: Tasks, cause: CauseNoHarm}
	k.ranks = k.growers(k.growth, k.cfg.MinTasks, k.ranks)
	k.candidates = k.candidates[:0]
	for _, g := range k.ranks {
		id := k.ids[g.slot]
		if len(k.candidates) == MaxInspected {
			break
		}
		if p.leaseOf(Tasks, id) == nil && !p.above(Tasks, g.slot) {
			k.candidates = append(k.candidates, candidate{slot: g.slot, id: id, own: g.own, effective: g.own, harm: k.project(g.slot, g.own, s)})
		}
	}
	if len(k.candidates) == 0 {
		k.approach = approach{}
		return v
	}
	lead := leading(k.candidates, k.cfg.Horizon)
	v.lead, v.second = lead, runnerUp(k.candidates, lead)
	k.approach.add(lead.id, s.Taken, lead.harm.Exhaustion)
	if lead.harm.Exhaustion > k.cfg.Horizon || !k.forked(lead) {
		return v
	}
	v.pressed, v.cause = true, CauseNone
	g := k.looks.look(lead.id, 0, s.Taken, inspector)
	if lead.look, lead.blind = g.look, g.failed; !p.aimable(&v) {
		return v
	}
	p.admit(k, &v, p.young(Tasks, lead, s.Taken) && lead.harm.Exhaustion > k.cfg.Horizon/4, s)
	v.order = v.order && k.ongoing(lead.slot, lead.effective) && (p.velocity > 0 || k.approach.nearer())
	return v
}

// forked says that the growth is made of forks, as far as forks are counted:
// tasks that were moved into a cgroup are no surge.
func (k *taskRules) forked(c *candidate) bool {
	return k.forks.counter.n < 6 || k.forks.now >= c.effective/2
}

// open leaves room for the margin above what the cgroup has.
func (k *taskRules) open(_ *Policy, l *lease, c *candidate, s *arc.Sample) {
	has := k.value(s, arc.CgroupPids, c.slot)
	l.parameter = has + max(k.cfg.TaskMargin, has/10)
}

// press says that the cgroup uses the margin up.
func (k *taskRules) press(_ *Policy, l *lease, slot int32, s *arc.Sample, _ int64) (pressing, known bool) {
	has := k.value(s, arc.CgroupPids, slot)
	if has == arc.Absent {
		return false, false
	}
	return has+k.cfg.TaskMargin/2 >= l.parameter || k.rate(slot) >= k.cfg.MinTasks, true
}

func (k *taskRules) say(v *verdict) string {
	if v.lead == nil {
		return "no tasks run out"
	}
	where, grows := v.lead.where(), fmt.Sprintf("forks %s tasks/s", count(v.lead.own))
	switch v.cause {
	case CauseNone:
		return fmt.Sprintf("%s %s (runner-up %s/s), %s", where, grows, count(v.second), v.lead.harm.String())
	case CauseMargin:
		return fmt.Sprintf("%s %s, but the runner-up %s/s: no single culprit", where, grows, count(v.second))
	}
	return v.sayCommon(where + " " + grows)
}
