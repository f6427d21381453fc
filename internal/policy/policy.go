// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The levels known so far.
const (
	LevelNormal      = 0
	LevelWatchful    = 1
	LevelContainment = 2
)

const (
	// freshTicks must follow a gap before the level may rise again.
	freshTicks = 3
	// nominalTick is the least interval whose multiples count as a gap: an
	// overloaded machine that cannot keep a faster one is late, not blind.
	nominalTick = 100 * int64(time.Millisecond)
	// evaluateEvery is the least time between two looks for a culprit.
	evaluateEvery = 20 * int64(time.Millisecond)
	// repeatEvery is the least time before the same refusal is recorded again.
	repeatEvery = 30 * int64(time.Second)
	maxWindow   = 16
)

// Policy holds the rules' state for one node. It is not safe for concurrent
// use: one goroutine calls Step and Answer.
type Policy struct {
	cfg      Config
	safelist *Safelist

	level   int
	last    int64 // instant of the previous sample
	fresh   int   // ticks since the last gap, up to freshTicks
	started bool

	growth       growth
	growers      []grower
	candidates   []candidate
	glances      [maxGlances]glance
	psi          stall
	stalled      float64
	suspect      uint64
	suspectStall stall
	evaluated    int64

	verdicts   [maxWindow]bool // of the last decisions, a ring
	decisions  int
	anomalous  bool
	velocity   float64
	approach   approach
	episode    uint64 // counts episodes
	onset      int64
	calm       int64 // since when scores are below the limit
	harmful    int64 // when harm was last in sight
	harm       Harm
	cool       int64 // learning stays frozen until then
	generation uint64

	leases  []lease
	history history
	answers []answer
	said    [8]said
	saidN   int

	decision Decision
}

// said remembers a refusal, so that it is recorded once.
type said struct {
	cause  Cause
	cgroup uint64
	at     int64
}

// New returns a policy at level 0. A nil safelist protects the root, slices and
// init only.
func New(cfg Config, safelist *Safelist) *Policy {
	cfg.Window = min(max(cfg.Window, 1), maxWindow)
	cfg.Persist = min(max(cfg.Persist, 1), cfg.Window)
	return &Policy{
		cfg:        cfg,
		safelist:   safelist,
		growth:     newGrowth(),
		growers:    make([]grower, 0, maxGrowers),
		candidates: make([]candidate, 0, MaxInspected),
		leases:     make([]lease, 0, max(cfg.MaxLeases, 1)),
		answers:    make([]answer, 0, maxAnswers),
		history:    history{entries: make([]memory, 0, maxRemembered)},
		harm:       Harm{Exhaustion: Never},
		decision:   Decision{Orders: make([]arc.Order, 0, 8), Events: make([]Event, 0, 16)},
	}
}

// Step takes one sample and its judgement and decides. The decision belongs to
// the policy and is valid until the next call.
func (p *Policy) Step(s *arc.Sample, j *arc.Judgement, inspector Inspector) *Decision {
	d := &p.decision
	clear(d.Events) // drop what they point to
	d.Orders, d.Events, d.Previous, d.Changed = d.Orders[:0], d.Events[:0], p.level, false

	p.gap(s)
	p.growth.observe(s.Taken, &s.Cgroups)
	p.stalled = p.psi.observe(s.Taken, s.Node[arc.NodePressureMemorySome])
	p.history.punish(s, p.cfg.GraceLost)
	p.settle(s)
	p.keep(s)
	p.remember(j, s.Taken)

	switch {
	case p.level == LevelNormal:
		if j.Fresh && j.Ready && j.Anomalous && p.trusted() {
			p.open(s, j)
		}
	case p.level == LevelContainment && len(p.leases) == 0:
		p.move1(-1, "nothing is contained any more")
	default:
		p.watch(s, j, inspector)
	}
	d.Level, d.Stale, d.Harm = p.level, !p.trusted(), p.harm
	p.control(s.Taken)
	return d
}

// gap notes how the sample follows the one before.
func (p *Policy) gap(s *arc.Sample) {
	allowed := 3 * max(s.Interval, nominalTick)
	switch {
	case !p.started:
		p.started, p.fresh = true, freshTicks
	case s.Taken-p.last > allowed+nominalTick/2 || s.Taken < p.last:
		p.fresh = 0
	case p.fresh < freshTicks:
		p.fresh++
	}
	p.last = s.Taken
}

// trusted says that the input is fresh enough to escalate on.
func (p *Policy) trusted() bool { return p.fresh >= freshTicks }

// remember keeps the last decisions and since when scores are calm.
func (p *Policy) remember(j *arc.Judgement, now int64) {
	if j.Ready && !j.Fresh {
		p.velocity = j.Velocity
		return
	}
	anomalous := j.Ready && j.Anomalous
	if j.Ready {
		p.verdicts[p.decisions%p.cfg.Window] = anomalous
		p.decisions++
		p.velocity = j.Velocity
	}
	switch {
	case anomalous:
		p.calm = 0
	case p.calm == 0:
		p.calm = now
	}
	p.anomalous = anomalous
}

// persists says that enough of the last decisions were anomalous.
func (p *Policy) persists() bool {
	n := 0
	for _, v := range p.verdicts[:p.cfg.Window] {
		if v {
			n++
		}
	}
	return n >= p.cfg.Persist
}

// open begins an episode at level 1.
func (p *Policy) open(s *arc.Sample, j *arc.Judgement) {
	p.episode++
	p.onset, p.harmful, p.harm = j.Decided, s.Taken, Harm{Exhaustion: Never}
	p.approach, p.evaluated, p.saidN = approach{}, 0, 0
	clear(p.said[:])
	reason := fmt.Sprintf("score %.1f above limit %.1f", j.Score, j.Limit)
	if j.NumContributions > 0 {
		reason += ", most by " + j.Contributions[0].Dimension
	}
	p.level = LevelWatchful
	p.event(Event{Kind: Opened, Reason: reason})
	p.level = LevelNormal
	p.move1(+1, reason)
}

// move1 changes the level by one.
func (p *Policy) move1(by int, reason string) {
	previous := p.level
	p.level += by
	p.decision.Changed = true
	p.event(Event{Kind: LevelChanged, Previous: previous, Reason: reason, Harm: p.harm})
}

// watch is a tick at level 1 or above.
func (p *Policy) watch(s *arc.Sample, j *arc.Judgement, inspector Inspector) {
	now := s.Taken
	if p.calm != 0 && now-p.calm >= int64(p.cfg.CloseAfter) && len(p.leases) == 0 {
		p.move1(-1, fmt.Sprintf("scores below the limit for %s", p.cfg.CloseAfter))
		p.event(Event{Kind: Closed, Reason: fmt.Sprintf("closed after %s", time.Duration(now-p.onset).Round(time.Second))})
		p.cool = now + int64(p.cfg.CoolOff)
		p.harm = Harm{Exhaustion: Never}
		p.history.close()
		return
	}
	if !j.Fresh && now-p.evaluated < evaluateEvery {
		return
	}
	p.evaluated = now
	v := p.judge(s, p.examine(s, inspector))
	p.follow(v, now)
	switch {
	case !p.persists() || p.calm != 0 && now-p.calm > int64(time.Second):
		return // score to look: without an anomaly there is nothing to say
	case !p.trusted():
		v.cause, v.order = CauseStale, false
	case v.order && p.velocity <= 0 && !p.approach.nearer():
		return // it is not getting worse
	}
	if !v.order {
		p.decline(v, now)
		return
	}
	p.grant(v.lead, s)
	if p.level == LevelWatchful {
		p.move1(+1, fmt.Sprintf("%s grows %s/s (runner-up %s/s), %s", v.lead.look.Path, bytes(v.lead.effective), bytes(v.second), v.lead.harm.describe()))
		last := &p.decision.Events[len(p.decision.Events)-1]
		last.Cgroup, last.Path, last.Harm, last.RunnerUp = v.lead.id, v.lead.look.Path, v.lead.harm, v.second
	}
}

// follow keeps the harm in sight and whether it comes nearer.
func (p *Policy) follow(v verdict, now int64) {
	if v.lead == nil {
		p.harm, p.approach = Harm{Exhaustion: Never, Stall: p.stalled}, approach{}
	} else {
		p.harm = v.lead.harm
		p.approach.add(v.lead.id, now, v.lead.harm.Exhaustion)
	}
	if p.harm.Exhaustion <= p.cfg.Habituation || p.stalled > p.cfg.StallBudget || len(p.leases) > 0 {
		p.harmful = now
	}
}

// decline records why nothing is done, once per change.
func (p *Policy) decline(v verdict, now int64) {
	if v.cause == CauseNone || p.containing() && (v.cause == CauseNoHarm || v.cause == CauseNoCulprit) {
		return // that nobody else does harm is what containment is for
	}
	var id uint64
	// That nothing is harmed is one fact, whoever grows fastest at the moment.
	if v.lead != nil && v.cause != CauseNoHarm {
		id = v.lead.id
	}
	for i := range p.said {
		if w := &p.said[i]; w.at != 0 && w.cause == v.cause && w.cgroup == id {
			if now-w.at < repeatEvery || v.cause == CauseNoHarm {
				return
			}
			w.at = 0
		}
	}
	p.said[p.saidN%len(p.said)] = said{v.cause, id, now}
	p.saidN++
	e := Event{Kind: Declined, Cause: v.cause, Reason: v.say(), RunnerUp: v.second}
	if v.lead != nil {
		e.Cgroup, e.Path, e.Harm = v.lead.id, v.lead.look.Path, v.lead.harm
	}
	p.event(e)
}

// event records e at the level in force.
func (p *Policy) event(e Event) {
	e.Level, e.Onset = p.level, p.onset
	if e.Kind != LevelChanged {
		e.Previous = p.level
	}
	p.decision.Events = append(p.decision.Events, e)
}

// containing says that a lease is held: stalls are then of our own making too.
func (p *Policy) containing() bool { return len(p.leases) > 0 }

func (p *Policy) leaseOf(id uint64) *lease {
	for i := range p.leases {
		if p.leases[i].cgroup == id {
			return &p.leases[i]
		}
	}
	return nil
}

// control writes the word that flows back.
func (p *Policy) control(now int64) {
	c := arc.Control{FrozenUntil: p.cool, LeaseHeld: p.containing()}
	if p.level > LevelNormal {
		c.Harm = p.harm.Exhaustion <= p.cfg.Horizon || p.stalled > p.cfg.StallBudget
		if now-p.harmful < int64(p.cfg.Habituation) {
			c.FrozenUntil = arc.Forever
			if !p.settled(now) {
				c.Interval = int64(p.cfg.WatchInterval)
			}
		}
	}
	p.decision.Control = c
}

// settled says that what is contained is contained, and that nobody else does
// harm: fast sampling has done its work. The ceilings move at StepEvery, which
// the sampler's own interval serves, and a machine in trouble has better uses
// for the time.
func (p *Policy) settled(now int64) bool {
	for i := range p.leases {
		if l := &p.leases[i]; l.phase != held || now-l.granted < int64(p.cfg.Settle) {
			return false
		}
	}
	return len(p.leases) > 0 && p.harm.Exhaustion > p.cfg.Horizon
}

// Lease describes one lease for a status page.
type Lease struct {
	Cgroup   uint64        `json:"cgroup"`
	Path     string        `json:"path"`
	Phase    string        `json:"phase"`
	Verdict  string        `json:"verdict"`
	Ceiling  uint64        `json:"ceiling"`
	Headroom uint64        `json:"headroom_at_grant"`
	Deadline int64         `json:"deadline_boottime"`
	Reason   string        `json:"reason"`
	Held     time.Duration `json:"held"`
}

var phaseNames = [...]string{"asked", "held", "releasing"}

// Leases appends a description of every lease to into.
func (p *Policy) Leases(into []Lease) []Lease {
	for i := range p.leases {
		l := &p.leases[i]
		into = append(into, Lease{
			Cgroup: l.cgroup, Path: l.path, Phase: phaseNames[l.phase], Verdict: l.verdict.String(),
			Ceiling: l.ceiling, Headroom: l.headroom, Deadline: l.deadline, Reason: l.reason, Held: time.Duration(p.last - l.granted),
		})
	}
	return into
}

// ReleaseAll appends to into an order that releases each lease, for a shutdown.
func (p *Policy) ReleaseAll(into []arc.Order) []arc.Order {
	for i := range p.leases {
		l := &p.leases[i]
		into = append(into, arc.Order{
			Cgroup: l.cgroup, Action: arc.ActionMemoryHigh, Verb: arc.Release, Observe: p.cfg.Observe,
			TTL: int64(p.cfg.TTL), Generation: l.generation, Scheduled: p.last, Reason: "released: the collector shuts down",
		})
	}
	return into
}
