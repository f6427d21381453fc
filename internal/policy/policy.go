// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The levels.
const (
	LevelNormal = iota
	LevelWatchful
	LevelContainment
	LevelPressure
	LevelIsolation
	LevelQuarantine
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

	inspector Inspector // of the step at hand

	level   int
	last    int64 // instant of the previous sample
	fresh   int   // ticks since the last gap, up to freshTicks
	started bool

	table     *table
	resources [numResources]resource
	memory    *memoryRules
	cpu       *cpuRules
	network   *networkRules
	evaluated int64
	verdicts  [numResources]verdict // of the last evaluation
	populace  int                   // cgroups in the last sweep

	anomalies  [maxWindow]bool // of the last decisions, a ring
	decisions  int
	anomalous  bool
	strange    string // who does what it has never done, "" for nobody
	velocity   float64
	pressed    bool // at the last evaluation something was to be done about a harm
	urgent     bool // and by a cgroup that nothing is held on
	climb      climb
	episode    uint64 // counts episodes
	onset      int64
	calm       int64         // since when scores are below the limit
	harmful    int64         // when harm was last in sight
	quiet      time.Duration // watched in vain since harm was last done
	harmed     bool          // harm was done in this episode
	harm       Harm
	cool       int64 // learning stays frozen until then
	generation uint64

	leases []lease
	begun  bool // a lease, at this step
	// following is a lease that the keeping of another begins.
	following *lease
	history   history
	operator  []handsOff // what an operator wants left alone
	pace      pace
	missing   [arc.NumActions]int64 // until when the guard is taken to have no such action
	answers   []answer
	said      [16]said
	saidN     int

	decision Decision
}

// said remembers a refusal, so that it is recorded once.
type said struct {
	resource Resource
	cause    Cause
	cgroup   uint64
	at       int64
}

// climb is a level on the way to the one that an action needs.
type climb struct {
	level int
	at    int64 // when it was last wanted
}

// climbFor is how long a level is kept that nothing is held at.
const climbFor = int64(time.Second)

// New returns a policy at level 0. A nil safelist protects the root, slices and
// init only.
func New(cfg Config, safelist *Safelist) *Policy {
	cfg.Window = min(max(cfg.Window, 1), maxWindow)
	cfg.Persist = min(max(cfg.Persist, 1), cfg.Window)
	p := &Policy{
		cfg:      cfg,
		safelist: safelist,
		table:    newTable(),
		leases:   make([]lease, 0, max(cfg.MaxLeases, 1)),
		answers:  make([]answer, 0, maxAnswers),
		operator: make([]handsOff, 0, maxHandsOff),
		history:  history{entries: make([]memory, 0, maxRemembered)},
		harm:     Harm{Exhaustion: Never},
		decision: Decision{Orders: make([]arc.Order, 0, 8), Events: make([]Event, 0, 16)},
	}
	p.memory, p.cpu, p.network = newMemoryRules(p.table, &p.cfg), newCPURules(p.table, &p.cfg), newNetworkRules(p.table, &p.cfg)
	p.resources = [numResources]resource{
		Memory: p.memory, Tasks: newTaskRules(p.table, &p.cfg), CPU: p.cpu,
		IO: newIORules(p.table, &p.cfg), Network: p.network,
	}
	return p
}

// Step takes one sample and its judgement and decides. The decision belongs to
// the policy and is valid until the next call.
func (p *Policy) Step(s *arc.Sample, j *arc.Judgement, inspector Inspector) *Decision {
	d := &p.decision
	clear(d.Events) // drop what they point to
	d.Orders, d.Events, d.Previous, d.Changed = d.Orders[:0], d.Events[:0], p.level, false
	p.begun, p.inspector = false, inspector

	p.gap(s)
	p.table.observe(s.Taken, &s.Cgroups)
	p.populace = s.Cgroups.Len()
	learn := p.level == LevelNormal && s.Taken >= p.cool && (!j.Ready || !j.Anomalous) || p.level == LevelWatchful && p.used(s.Taken)
	for _, r := range p.resources {
		r.observe(s, learn)
	}
	p.memory.habits.look(s.Taken, inspector)
	p.history.punish(s, p.cfg.GraceLost)
	p.settle(s)
	p.obey(s)
	p.keep(s)
	if j.Ready && j.Fresh {
		if p.strange = ""; !j.Anomalous && p.cfg.Resources.Has(Memory) {
			p.strange = p.memory.strange(p, s, inspector)
		}
	}
	p.remember(j, s.Taken)

	switch {
	case d.Changed: // a lease went up a level by itself: one step at a time
	case p.level == LevelNormal:
		if j.Fresh && j.Ready && (j.Anomalous || p.strange != "") && p.trusted() {
			p.open(s, j)
		}
	case p.level > p.wanted(s.Taken):
		if len(p.leases) == 0 {
			p.move1(-1, "nothing is contained any more")
		} else {
			p.move1(-1, "nothing is held any more that needs the level")
		}
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
	anomalous := j.Ready && (j.Anomalous || p.strange != "")
	if j.Ready {
		p.anomalies[p.decisions%p.cfg.Window] = anomalous
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
	for _, v := range p.anomalies[:p.cfg.Window] {
		if v {
			n++
		}
	}
	return n >= p.cfg.Persist
}

// open begins an episode at level 1.
func (p *Policy) open(s *arc.Sample, j *arc.Judgement) {
	p.episode++
	p.onset, p.harm, p.harmed = j.Decided, Harm{Exhaustion: Never}, false
	if s.Taken-p.cool > int64(p.cfg.GraceLost) {
		p.quiet = 0 // it had been calm for long
	}
	p.evaluated, p.saidN, p.climb = s.Taken, 0, climb{}
	clear(p.said[:])
	reason := fmt.Sprintf("score %.1f above limit %.1f", j.Score, j.Limit)
	if j.NumContributions > 0 {
		reason += ", most by " + j.Contributions[0].Dimension
	}
	if p.strange != "" {
		reason = p.strange
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

// wanted is the level that what is held needs, or what is about to be.
func (p *Policy) wanted(now int64) int {
	level := LevelWatchful
	for i := range p.leases {
		level = max(level, p.leases[i].level)
	}
	if p.climb.level > level && now-p.climb.at < climbFor {
		level = p.climb.level
	}
	return level
}

// watch is a tick at level 1 or above.
func (p *Policy) watch(s *arc.Sample, j *arc.Judgement, inspector Inspector) {
	now := s.Taken
	if p.calm != 0 && now-p.calm >= int64(p.cfg.CloseAfter) && len(p.leases) == 0 && p.level == LevelWatchful {
		p.move1(-1, fmt.Sprintf("scores below the limit for %s", p.cfg.CloseAfter))
		p.event(Event{Kind: Closed, Reason: fmt.Sprintf("closed after %s", time.Duration(now-p.onset).Round(time.Second))})
		if p.cool = now; !p.used(now) {
			p.cool += int64(p.cfg.CoolOff)
		}
		p.harm = Harm{Exhaustion: Never}
		p.history.close()
		return
	}
	passed := now - p.evaluated
	if !j.Fresh && passed < evaluateEvery {
		return
	}
	p.evaluated = now
	verdicts := &p.verdicts
	*verdicts = [numResources]verdict{}
	for i, r := range p.resources {
		if p.cfg.Resources.Has(Resource(i)) { //nolint:gosec // a handful
			verdicts[i] = r.judge(p, s, inspector)
		}
	}
	p.follow(verdicts, now, passed)
	if !p.persists() || p.calm != 0 && now-p.calm > int64(time.Second) {
		return // score to look: without an anomaly there is nothing to say
	}
	acted := p.begun
	for i := range verdicts {
		v := &verdicts[i]
		switch {
		case !p.trusted() && (v.order || v.cause != CauseNone):
			v.cause, v.order = CauseStale, false
		case v.order && acted:
			continue // one step a decision
		case v.order:
			acted = true
			p.act(p.resources[i], v, s, j.Fresh)
			continue
		}
		p.decline(v, verdicts, now)
	}
}

// event records e at the level in force.
func (p *Policy) event(e Event) {
	e.Level, e.Onset = p.level, p.onset
	if e.Kind != LevelChanged {
		e.Previous = p.level
	}
	p.decision.Events = append(p.decision.Events, e)
}

// control writes the word that flows back.
func (p *Policy) control(now int64) {
	c := arc.Control{FrozenUntil: p.cool, LeaseHeld: len(p.leases) > 0}
	if p.level > LevelNormal {
		c.Watchful, c.Harmed = true, p.harmed
		c.Harm = p.pressed || p.harm.Exhaustion <= p.cfg.Horizon || p.memory.stalled > p.cfg.StallBudget
		if c.FrozenUntil = 0; !p.used(now) {
			c.FrozenUntil = arc.Forever
			if !p.settled(now) {
				c.Interval = int64(p.cfg.WatchInterval)
			}
		}
	}
	p.decision.Control = c
}

// harmSeen is how long harm that was in sight keeps from learning.
const harmSeen = 10 * int64(time.Second)

// used says that what is going on has been watched in vain for long enough, in one
// episode or in many, and that no harm is in sight: it may be learned.
func (p *Policy) used(now int64) bool {
	return p.quiet >= p.cfg.Habituation && now-p.harmful >= harmSeen
}

// settled says that what is contained is contained, and that nobody else does
// harm: fast sampling has done its work. The ceilings move at StepEvery, which
// the sampler's own interval serves, and a machine in trouble has better uses
// for the time.
func (p *Policy) settled(now int64) bool {
	for i := range p.leases {
		l := &p.leases[i]
		if !p.cfg.Observe && p.cfg.Observes(l.resource) {
			continue // nothing was done that could show
		}
		if l.phase != held || now-l.granted < int64(p.cfg.Settle) {
			return false
		}
	}
	return len(p.leases) > 0 && !p.urgent && p.harm.Exhaustion > p.cfg.Horizon
}

// Lease describes one lease for a status page.
type Lease struct {
	Cgroup   uint64        `json:"cgroup"`
	Path     string        `json:"path"`
	Action   string        `json:"action"`
	Level    int           `json:"level"`
	Amount   string        `json:"amount"`
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
			Cgroup: l.cgroup, Path: l.path, Action: l.action.String(), Level: l.level, Amount: amount(l.action, l.parameter),
			Phase: phaseNames[l.phase], Verdict: l.verdict.String(), Ceiling: l.parameter, Headroom: l.headroom, Deadline: l.deadline, Reason: l.reason, Held: time.Duration(p.last - l.granted),
		})
	}
	return into
}

// ReleaseAll appends to into an order that releases each lease, for a shutdown.
func (p *Policy) ReleaseAll(into []arc.Order) []arc.Order {
	for i := range p.leases {
		l := &p.leases[i]
		into = append(into, arc.Order{
			Cgroup: l.cgroup, Device: l.device, Interface: l.link, Action: l.action, Verb: arc.Release, Observe: p.cfg.Observes(l.resource),
			TTL: int64(p.cfg.TTL), Generation: l.generation, Scheduled: p.last, Reason: "released: the collector shuts down",
		})
	}
	return into
}
