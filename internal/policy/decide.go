// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// act carries out a verdict: it grants, or climbs towards the level at which it
// may. Above level 2 the level rises with a decision of the engine only.
func (p *Policy) act(r resource, v *verdict, s *arc.Sample, fresh bool) {
	up := p.level + 1
	p.climb = climb{level: p.level, at: s.Taken}
	switch {
	case !fresh && v.rung.level >= up && v.rung.level > LevelContainment:
		return
	case p.leaseFor(v.rung.action, v.lead) != nil:
		if fresh {
			p.tighten(r, p.leaseFor(v.rung.action, v.lead), v, s)
		}
		return
	case v.rung.level > up:
		p.climb.level = up
		p.rise(r, v, fmt.Sprintf("on the way to %s at level %d: ", v.rung.action, v.rung.level))
		return
	}
	p.grant(r, v, s)
	if p.level < v.rung.level {
		p.rise(r, v, "")
	}
}

// rise raises the level by one because of v.
func (p *Policy) rise(r resource, v *verdict, prefix string) {
	p.move1(+1, prefix+r.say(v))
	last := &p.decision.Events[len(p.decision.Events)-1]
	last.Cgroup, last.Path, last.Harm, last.RunnerUp = v.lead.id, v.path(), v.lead.harm, v.second
	last.Resource, last.Action = v.resource, v.rung.action
}

// follow keeps the harm in sight: the first resource's that is pressed, or else
// that of who grows fastest in memory. It is called passed nanoseconds after it was
// before.
func (p *Policy) follow(verdicts *[numResources]verdict, now, passed int64) {
	p.pressed, p.urgent, p.harm = false, false, Harm{Exhaustion: Never, Stall: p.memory.stalled}
	shown, harmed := Memory, false
	for i := range verdicts {
		v := &verdicts[i]
		if v.pressed && !harmed {
			shown, harmed = v.resource, true
		}
		pressed := v.pressed && v.resource != Memory && v.lead != nil && p.leaseOf(v.resource, v.lead.id) == nil
		p.pressed = p.pressed || pressed
		// Who is contained already wants no faster samples, and neither does what
		// enforcing only observes.
		p.urgent = p.urgent || pressed && p.leaseOn(v.lead.id) == nil && (p.cfg.Observe || !p.cfg.Observes(v.resource))
	}
	if lead := verdicts[shown].lead; lead != nil {
		p.harm = lead.harm
	}
	switch {
	case p.memory.stalled > p.cfg.StallBudget || len(p.leases) > 0 || now < p.memory.falling:
		p.quiet, p.harmful, p.harmed = 0, now, true
	case harmed || p.harm.Exhaustion <= p.cfg.Habituation:
		p.harmful = now
	default:
		p.quiet += time.Duration(min(passed, int64(time.Second)))
	}
}

// decline records why nothing is done, once per change. That nothing is harmed
// is one fact, whoever grows fastest at the moment: memory's to tell, if all the
// others agree.
func (p *Policy) decline(v *verdict, all *[numResources]verdict, now int64) {
	var id uint64
	switch v.cause {
	case CauseNone:
		return
	case CauseNoHarm, CauseNoCulprit:
		if p.containing(v.resource) {
			return // that nobody else does harm is what containment is for
		}
		if v.cause == CauseNoHarm && (len(p.leases) > 0 || !harmless(all) || v.resource != p.first()) {
			return
		}
	}
	if v.lead != nil && v.cause != CauseNoHarm {
		id = v.lead.id
	}
	for i := range p.said {
		if w := &p.said[i]; w.at != 0 && w.resource == v.resource && w.cause == v.cause && w.cgroup == id {
			if now-w.at < repeatEvery || v.cause == CauseNoHarm {
				return
			}
			w.at = 0
		}
	}
	p.said[p.saidN%len(p.said)] = said{v.resource, v.cause, id, now}
	p.saidN++
	e := Event{Kind: Declined, Resource: v.resource, Action: v.rung.action, Cause: v.cause, Reason: p.why(p.resources[v.resource], v), RunnerUp: v.second}
	if v.lead != nil {
		e.Cgroup, e.Path, e.Harm = v.lead.id, v.path(), v.lead.harm
		if ladder := p.resources[v.resource].ladder(v.lead); e.Action == arc.ActionNone && len(ladder) > 0 {
			e.Action = ladder[0].action
		}
	}
	p.event(e)
}

// why is the sentence for a verdict.
func (p *Policy) why(r resource, v *verdict) string {
	if v.cause == CauseStale {
		return v.sayCommon("")
	}
	return r.say(v)
}

// harmless says that no resource is pressed.
func harmless(all *[numResources]verdict) bool {
	for i := range all {
		if all[i].pressed {
			return false
		}
	}
	return true
}

// first is the first resource that is acted upon.
func (p *Policy) first() Resource {
	for r := range numResources {
		if p.cfg.Resources.Has(r) {
			return r
		}
	}
	return numResources
}
