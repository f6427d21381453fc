// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// lateFor is how long after a scenario what it caused may still be recorded.
const lateFor = time.Second

// scenario plays one scenario and tells its trial. One that cannot be played says
// so and does not keep the others from being.
func (p *play) scenario(ctx context.Context, s *containment.Scenario) error {
	t := &containment.Trial{Scenario: s.Name, Guard: p.Guard, Calm: now()}
	p.note("%s: %s", s.Name, s.About)
	err := p.unready[s.Name]
	var guilty culprits
	if err == nil {
		guilty, err = p.trial(ctx, s, t)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.Failed = err.Error()
		p.note("%s: %v", s.Name, err)
	}
	if err := p.endUnits(s); err != nil {
		return err
	}
	// What came too late was still about the guilty.
	if err := stage.Pause(ctx, lateFor); err != nil {
		return err
	}
	var late containment.Trial
	p.hear(ctx, &late, guilty, map[string]int64{})
	t.Touched, t.Declined = append(t.Touched, late.Touched...), append(t.Declined, late.Declined...)
	p.stream.Send(containment.Event{Kind: containment.EventTrial, Trial: t})
	return p.afresh(ctx)
}

// trial is a scenario from the calm before it to the end of its fault. It returns
// who is guilty.
func (p *play) trial(ctx context.Context, s *containment.Scenario, t *containment.Trial) (guilty culprits, err error) {
	if s.Narrow > 0 {
		var widen func() error
		if widen, err = p.network.narrow(s.Narrow); err != nil {
			return guilty, err
		}
		defer func() { err = errors.Join(err, widen()) }()
	}
	if s.Swap {
		if err := swapOn(); err != nil {
			return guilty, err
		}
		// What is swapped out comes back only when it need not any more.
		defer func() { err = errors.Join(err, p.endUnits(s), swapOff()) }()
	}
	if err := stage.Pause(ctx, containment.CalmFor); err != nil {
		return guilty, err
	}
	p.hear(ctx, t, guilty, nil) // in the calm everybody is innocent
	if s.Respawn {
		if err := p.firstLife(ctx, s, t); err != nil {
			return guilty, err
		}
	}
	for _, u := range s.Units {
		if u.Fresh && p.units[u.Name] == nil {
			if err := p.startUnit(u); err != nil {
				return guilty, err
			}
		}
	}
	_, guilty = p.guilty(s)
	if err := p.watchTrial(ctx, s, t); err != nil {
		return guilty, err
	}
	if dead := p.reflex.Ended(); dead != nil {
		return guilty, fmt.Errorf("%s ended; see log/%s.log", dead.Name, dead.Name)
	}
	return guilty, nil
}

// watchTrial has the units begin and watches until the guilty are contained, or
// the time is up.
func (p *play) watchTrial(ctx context.Context, s *containment.Scenario, t *containment.Trial) error {
	groups, guilty := p.guilty(s)
	innocent := p.everybodyElse(s)
	before := takeSnapshot(innocent)
	w, err := startWatch(groups, innocent)
	if err != nil {
		return err
	}
	defer w.stop()
	for _, u := range s.Units {
		onset, err := p.units[u.Name].begin()
		if err != nil {
			return err
		}
		if t.Onset == 0 || onset > 0 && onset < t.Onset {
			t.Onset = onset
		}
	}
	waited, carried := takeWaits(p.whoWaits(s)), takeTraffic()
	at := map[string]int64{}
	for deadline := t.Onset + int64(s.Within); ; {
		if err := stage.Pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		tight, _ := w.changes()
		for _, c := range tight {
			if at[c.cgroup] == 0 && slices.Contains(s.Knobs, c.knob) {
				at[c.cgroup] = c.at
			}
			add(&t.By, c.cgroup+" "+c.knob)
		}
		if !s.Innocent() {
			p.hear(ctx, t, guilty, at)
		}
		if guilty.all(at) {
			for _, instant := range at {
				t.Contained = max(t.Contained, instant)
			}
			break
		}
		if now() >= deadline {
			break
		}
	}
	t.Waited = takeWaits(waited.groups).since(waited)
	held := takeTraffic()
	t.Network = []string{held.since(carried)}
	if t.Contained > 0 {
		if err := stage.Pause(ctx, s.After); err != nil {
			return err
		}
		t.Network = append(t.Network, takeTraffic().since(held))
	}
	t.End = now()
	_, touched := w.changes()
	for _, c := range touched {
		add(&t.Touched, c.String())
	}
	for _, text := range before.differences(takeSnapshot(innocent)) {
		add(&t.Touched, text)
	}
	p.hear(ctx, t, guilty, at)
	p.killed(s, t)
	p.tell(t)
	return nil
}

// culprits are who must be contained.
type culprits struct {
	names map[uint64]string // of guilty cgroups, by id
	// elsewhere says that it is the interface through which it comes.
	elsewhere bool
}

// theInterface stands where others have the name of a cgroup.
const theInterface = "the interface"

// all reports whether each of them was contained.
func (c culprits) all(at map[string]int64) bool {
	for _, name := range c.names {
		if at[name] == 0 {
			return false
		}
	}
	return len(c.names) > 0 || c.elsewhere && at[theInterface] != 0
}

// guilty returns the guilty cgroups, and who must be contained.
func (p *play) guilty(s *containment.Scenario) (groups []*stage.Cgroup, who culprits) {
	who = culprits{names: map[uint64]string{}, elsewhere: s.FromElsewhere()}
	for _, name := range s.Guilty() {
		u := p.units[name]
		groups = append(groups, u.group)
		who.names[u.id] = name
	}
	return groups, who
}

// everybodyElse returns all cgroups but the guilty ones and Reflex's own.
func (p *play) everybodyElse(s *containment.Scenario) []*stage.Cgroup {
	others := []*stage.Cgroup{p.work, p.neighbour}
	for _, name := range sorted(p.units) {
		if !slices.Contains(s.Guilty(), name) && !p.units[name].Elsewhere {
			others = append(others, p.units[name].group)
		}
	}
	for _, g := range p.groups {
		if name := filepath.Base(g.Dir); name == "client.service" || name == "timer.service" {
			others = append(others, g)
		}
	}
	return others
}

// killed notes whom the kernel killed for memory.
func (p *play) killed(s *containment.Scenario, t *containment.Trial) {
	for _, unit := range s.Units {
		if n, err := p.units[unit.Name].group.Event("oom_kill"); err == nil && n > 0 {
			t.Killed = append(t.Killed, unit.Name)
		}
	}
	if n, err := p.neighbour.Event("oom_kill"); err == nil && n > 0 {
		t.Killed = append(t.Killed, neighbourName)
	}
}

// firstLife has the guilty contained once and killed, and starts it again. Its name
// has no grace any more; nor has its second life.
func (p *play) firstLife(ctx context.Context, s *containment.Scenario, t *containment.Trial) error {
	name := s.Guilty()[0]
	once := *s
	once.Respawn, once.After = false, time.Second
	first := containment.Trial{Scenario: s.Name + ", first life"}
	if err := p.watchTrial(ctx, &once, &first); err != nil {
		return err
	}
	if first.Contained == 0 {
		t.Trouble = append(t.Trouble, "its first life was not contained")
	}
	t.Touched = append(t.Touched, first.Touched...)
	again := p.units[name].Unit
	if err := p.endUnit(name); err != nil {
		return err
	}
	return p.startUnit(again)
}

// tell notes what came of a trial.
func (p *play) tell(t *containment.Trial) {
	text := t.Scenario + ": nobody contained"
	if t.Contained > 0 {
		text = fmt.Sprintf("%s: contained %.2f s after the onset, %v", t.Scenario, float64(t.Contained-t.Onset)/1e9, t.By)
	}
	if len(t.Touched) > 0 {
		text += fmt.Sprintf("; touched: %v", t.Touched)
	}
	if len(t.Waited) > 0 {
		text += fmt.Sprintf("; waited: %v", t.Waited)
	}
	if s := strings.Join(t.Network, "; then "); s != "" {
		text += "; network: " + s
	}
	if len(t.Killed) > 0 {
		text += fmt.Sprintf("; killed for memory: %v", t.Killed)
	}
	if len(t.Declined) > 0 {
		text += fmt.Sprintf("; declined: %v", t.Declined)
	}
	p.note("%s", text)
}
