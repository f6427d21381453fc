// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/stage"
)

const (
	// Leases whose ceilings move ten times a second are the arc's work while it is
	// measured: this many cgroups leak in each condition, each contained before the
	// next begins, since of two that leak alike neither is to blame.
	movers = 4
	// A move is worth a write from 1/256 of a ceiling on (policy), and a step at a
	// sixtieth of the limit a second is 1.7 MB: up to 450 MB every step is.
	moverResident = 60 << 20
	moverLimit    = 1 << 30
	moverRate     = 30_000_000
	moverBuy      = "60s"
	// moverWithin is how long containment of one is waited for.
	moverWithin = 15 * time.Second

	thrashLimit = 96 << 20
	thrashSize  = 160 << 20
)

// condition is what the node suffers while the arc is measured.
type condition struct {
	name string
	load *containment.Unit
	swap bool
	hang bool
}

// conditions are measured in this order: nothing recovers from a backend that
// hangs but its end.
func (s *Settings) conditions() []condition {
	span := (s.TicksFor + time.Minute).String()
	return []condition{
		{name: "idle"},
		{name: "fork bomb", load: &containment.Unit{
			Name: "tick-fork.service", Role: []string{"fork", "-rate", "400", "-count", "2000", "-for", span},
		}},
		{name: "thrash", swap: true, load: &containment.Unit{
			Name: "tick-thrash.service", Role: []string{"thrash", "-size", strconv.Itoa(thrashSize), "-for", span},
			Limits: [][2]string{{"memory.max", strconv.Itoa(thrashLimit)}},
		}},
		{name: "exporters hung", hang: true},
	}
}

func moverName(condition, i int) string { return fmt.Sprintf("mover-%d-%d.service", condition, i) }

// startMovers starts what will leak while the arc is measured: it must be warm by
// then.
func (p *play) startMovers() error {
	for c := range p.conditions() {
		for i := range movers {
			err := p.startUnit(containment.Unit{
				Name: moverName(c, i), Role: []string{"leak", "-resident", strconv.Itoa(moverResident), "-rate", strconv.Itoa(moverRate)},
				Limits: [][2]string{{"memory.max", strconv.Itoa(moverLimit)}, {"memory.swap.max?", "0"}}, Guilty: true,
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// ticks measures tick to knob under each condition.
func (p *play) ticks(ctx context.Context) error {
	// A lease is looked at once in 100 ms at most, and renewed then.
	p.reflex.Setenv("SUITE_RENEW", "50ms")
	p.reflex.Setenv("SUITE_SHARE", "0.5") // as many as movers
	p.reflex.Setenv("SUITE_BUY_TIME", moverBuy)
	if err := p.afresh(ctx); err != nil {
		return err
	}
	for i, c := range p.conditions() {
		t := containment.Ticks{Condition: c.name, Guard: p.Guard, Samples: []float64{}}
		p.note("tick to knob: %s", c.name)
		if err := p.tick(ctx, i, c, &t); err != nil {
			return fmt.Errorf("tick to knob, %s: %w", c.name, err)
		}
		p.stream.Send(containment.Event{Kind: containment.EventTicks, Ticks: &t})
	}
	return nil
}

func (p *play) tick(ctx context.Context, number int, c condition, t *containment.Ticks) error {
	if c.hang {
		p.backend.hang()
		for deadline := now() + int64(30*time.Second); p.backend.waiting.Load() == 0; {
			if now() > deadline {
				t.Trouble = append(t.Trouble, "the backend was not asked within 30 s: it did not hang anything yet")
				break
			}
			if err := stage.Pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if c.swap {
		if err := swapOn(); err != nil {
			return err
		}
		defer func() {
			if err := errors.Join(p.endUnit(c.load.Name), swapOff()); err != nil {
				t.Trouble = append(t.Trouble, err.Error())
			}
		}()
	}
	for i := range movers {
		if err := p.move(ctx, moverName(number, i), t); err != nil {
			return err
		}
	}
	if c.load != nil {
		if err := p.startUnit(*c.load); err != nil {
			return err
		}
		if _, err := p.units[c.load.Name].begin(); err != nil {
			return err
		}
	}
	from := now()
	if err := stage.Pause(ctx, p.TicksFor); err != nil {
		return err
	}
	to := now()
	var err error
	if t.Samples, t.Sent, err = tickToKnob(p.collectorLog(), from, to); err != nil {
		return err
	}
	if t.TimerP50, t.TimerP99, err = p.lateness(from, to); err != nil {
		return err
	}
	if c.load != nil {
		if err := p.endUnit(c.load.Name); err != nil {
			return err
		}
	}
	for i := range movers {
		if err := p.endUnit(moverName(number, i)); err != nil {
			return err
		}
	}
	p.note("tick to knob, %s: %d samples", c.name, len(t.Samples))
	if c.hang { // after it comes nothing
		return nil
	}
	return p.afresh(ctx)
}

// move has one mover leak and waits until it is contained.
func (p *play) move(ctx context.Context, name string, t *containment.Ticks) error {
	u := p.units[name]
	onset, err := u.begin()
	if err != nil {
		return err
	}
	for now() < onset+int64(moverWithin) {
		if high, err := u.group.Number("memory.high"); err == nil && high < moverLimit {
			return nil
		}
		if err := stage.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	t.Trouble = append(t.Trouble, name+" was not contained: fewer ceilings move")
	return nil
}

// lateness asks the timer thread how late it was, in ms.
func (p *play) lateness(from, to int64) (p50, p99 float64, err error) {
	if _, err := fmt.Fprintf(p.timer.Stdin, "%d %d\n", from, to); err != nil {
		return 0, 0, err
	}
	text, err := p.timer.Await("late ", 30*time.Second)
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(text, &p50, &p99); err != nil || math.IsNaN(p99) {
		return 0, 0, fmt.Errorf("the timer thread says %q", text)
	}
	return p50, p99, nil
}

// answered is the line of the collector's log for an order that was answered
// (extension/reflexextension/executor.go).
type answered struct {
	Message   string `json:"msg"`
	Scheduled int64  `json:"scheduled_ns"`
	Sent      int64  `json:"sent_ns"`
	Written   int64  `json:"written_ns"`
}

// orderAnswered is the message of that line.
const orderAnswered = "order answered"

// tickToKnob lists, in ms, the times from the scheduled tick to the return of the
// last write, and to when the order was sent, for orders whose tick was due between
// two instants.
func tickToKnob(log string, from, to int64) (samples, sent []float64, err error) {
	f, err := os.Open(log)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	samples = []float64{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a answered
		if json.Unmarshal(lines.Bytes(), &a) != nil || a.Message != orderAnswered {
			continue
		}
		if a.Scheduled >= from && a.Scheduled < to && a.Written >= a.Scheduled {
			samples = append(samples, float64(a.Written-a.Scheduled)/1e6)
			sent = append(sent, float64(a.Sent-a.Scheduled)/1e6)
		}
	}
	return samples, sent, lines.Err()
}
