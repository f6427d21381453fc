// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// settle is how long the client asks before the calm minute begins, so that
// connections and caches are those of a running system.
const settle = 3 * time.Second

// arm is one run of the workload, with or without Reflex.
type arm struct {
	*Settings
	stream *Stream
	rec    recording.Arm

	groups                     []*stage.Cgroup
	payment, neighbour, client *stage.Process
	reflex                     *stage.Reflex
	observer                   *observer
	onsetFile                  string
}

// Stream carries events to the watcher.
type Stream = recording.Stream

// runArm runs one arm and writes its recording. Everything it started has ended
// when it returns.
func runArm(ctx context.Context, s *Settings, name string, stream *Stream) (err error) {
	a := &arm{Settings: s, stream: stream, onsetFile: filepath.Join(s.Out, name+".onset")}
	a.rec = recording.Arm{
		Name: name, Seed: s.Seed, Limit: s.Limit, LeakRate: s.LeakRate,
		RequestRate: s.RequestRate, Work: s.Work, Wait: s.Wait.Seconds(),
	}
	defer func() { err = errors.Join(err, a.cleanUp()) }()

	a.phase(recording.PhasePrepare, 0)
	if err := a.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := a.play(ctx); err != nil {
		return err
	}
	a.phase(recording.PhaseFinish, 0)
	a.finish()
	return recording.WriteJSON(s.Out, recording.ArmFile(name), &a.rec)
}

// group makes one more cgroup of the arm.
func (a *arm) group(name string, settings ...[2]string) (*stage.Cgroup, error) {
	c, err := stage.NewCgroup(a.Base, name, settings...)
	if err == nil {
		a.groups = append(a.groups, c)
	}
	return c, err
}

// prepare starts everything: first the services, then Reflex, then the client.
func (a *arm) prepare(ctx context.Context) error {
	payments, err := a.group("payment.service",
		[2]string{"memory.max", strconv.FormatUint(a.Limit, 10)},
		[2]string{"memory.swap.max?", "0"}, // there is none on a kernel without swap
		[2]string{"memory.oom.group", "1"})
	if err != nil {
		return err
	}
	neighbours, err := a.group("neighbour.service")
	if err != nil {
		return err
	}
	clients, err := a.group("client.service")
	if err != nil {
		return err
	}
	log := func(name string) string { return a.rec.Name + "-" + name }
	a.payment, err = stage.Start(log("payment"), payments, a.logs(), nil, a.Guest, "service",
		"-resident", strconv.Itoa(int(float64(a.Limit)*a.Resident)), "-work", strconv.Itoa(a.Work), "-wait", a.Wait.String(),
		"-leak-rate", strconv.FormatUint(a.LeakRate, 10), "-onset-file", a.onsetFile)
	if err != nil {
		return err
	}
	a.neighbour, err = stage.Start(log("neighbour"), neighbours, a.logs(), nil, a.Guest, "service",
		"-resident", strconv.FormatUint(a.NeighbourResident, 10), "-work", strconv.Itoa(a.Work), "-wait", a.Wait.String())
	if err != nil {
		return err
	}
	paymentAt, err := a.payment.Await("ready ", 2*time.Minute)
	if err != nil {
		return err
	}
	neighbourAt, err := a.neighbour.Await("ready ", time.Minute)
	if err != nil {
		return err
	}
	if a.observer, err = observe(payments, neighbours); err != nil {
		return err
	}
	if a.rec.Name == recording.With {
		a.note("the services are up; starting reflexguard and otelcol-reflex")
		if err := a.startReflex(ctx); err != nil {
			return err
		}
		a.note("Reflex is ready to act")
	}
	a.client, err = stage.Start(log("client"), clients, a.logs(), nil, a.Guest, "client",
		"-payment", paymentAt, "-neighbour", neighbourAt, "-seed", strconv.FormatUint(a.Seed, 10),
		"-rate", strconv.FormatFloat(a.RequestRate, 'g', -1, 64), "-deadline", a.Deadline.String(),
		"-answers", filepath.Join(a.Out, recording.AnswersFile(a.rec.Name)))
	if err != nil {
		return err
	}
	return stage.Pause(ctx, settle)
}

func (a *arm) startReflex(ctx context.Context) error {
	guards, err := a.group("reflex-guard.service")
	if err != nil {
		return err
	}
	collectors, err := a.group("reflex-collector.service")
	if err != nil {
		return err
	}
	a.reflex, err = startReflex(ctx, a.Settings, guards, collectors)
	return err
}

// play lets the calm minute and the minute of leak pass.
func (a *arm) play(ctx context.Context) error {
	a.rec.Calm = workload.Now()
	a.rec.Resident, _ = a.payment.Group.Number("memory.current")
	leakAt := a.rec.Calm + int64(a.Calm)
	if _, err := fmt.Fprintf(a.payment.Stdin, "leak %d\n", leakAt); err != nil {
		return fmt.Errorf("order the leak: %w", err)
	}
	a.phase(recording.PhaseCalm, a.Calm)
	a.rec.Costs = map[string]recording.Cost{}
	meter := newMeter(a.groups)
	ticker := newTicker(a)
	if err := ticker.until(ctx, leakAt); err != nil {
		return err
	}
	meter.calm(a.rec.Costs)
	a.phase(recording.PhaseLeak, a.Leak)
	a.rec.End = leakAt + int64(a.Leak)
	if err := ticker.until(ctx, a.rec.End); err != nil {
		return err
	}
	meter.leak(a.rec.Costs)
	return a.readOnset()
}

// readOnset takes the onset as the payment service saw it.
func (a *arm) readOnset() error {
	b, err := os.ReadFile(a.onsetFile)
	if err != nil {
		return fmt.Errorf("the leak never began: %w", err)
	}
	if _, err := fmt.Sscan(string(b), &a.rec.Onset, &a.rec.OnsetWall); err != nil {
		return fmt.Errorf("read %s: %w", a.onsetFile, err)
	}
	a.rec.End = a.rec.Onset + int64(a.Leak)
	return os.Remove(a.onsetFile)
}

// finish takes the last measurements and ends Reflex while the services still
// run, so that what it gives back can be seen.
func (a *arm) finish() {
	a.rec.OOMKills, _ = a.payment.Group.Event("oom_kill")
	if !a.payment.Alive() {
		a.rec.PaymentKilled = a.payment.EndedAt
		if a.payment.Signal != unix.SIGKILL {
			a.trouble("the payment service ended by itself, not by SIGKILL")
		}
	}
	if !a.neighbour.Alive() {
		a.trouble("the neighbour ended")
	}
	// The client first: its answers belong to the minutes that have passed.
	if !a.client.Stop(10 * time.Second) {
		a.trouble("the client did not end within 10 s of being asked")
	}
	if a.reflex != nil {
		for _, p := range []*stage.Process{a.reflex.Guard, a.reflex.Collector} {
			if !p.Alive() {
				a.trouble("%s ended during the arm; see log/%s.log", p.Name, p.Name)
			}
		}
		for _, t := range a.reflex.Stop() {
			a.trouble("%s", t)
		}
		if a.payment.Alive() {
			a.rec.CeilingAfter, _ = a.payment.Group.Number("memory.high")
		}
	}
	a.observer.stop()
	a.rec.Samples, a.rec.Ceilings = a.observer.samples, a.observer.ceilings
	a.rec.NeighbourCeilingChanged = a.observer.disturbed
	a.rec.LatenessCalm = a.observer.lateness(a.rec.Calm, a.rec.Onset)
	a.rec.LatenessLeak = a.observer.lateness(a.rec.Onset, a.rec.End)
	a.observer = nil
}

// cleanUp ends what still runs and removes the arm's cgroups.
func (a *arm) cleanUp() error {
	if a.observer != nil {
		a.observer.stop()
	}
	if a.reflex != nil {
		a.reflex.Stop()
	}
	var errs []error
	for _, c := range a.groups {
		errs = append(errs, c.Remove())
	}
	for _, p := range []*stage.Process{a.payment, a.neighbour, a.client} {
		if p != nil {
			<-p.Ended
		}
	}
	return errors.Join(errs...)
}

func (a *arm) phase(name string, length time.Duration) {
	a.stream.Send(recording.Event{Kind: recording.EventPhase, Arm: a.rec.Name, Phase: name, Length: length.Seconds()})
}

func (a *arm) note(text string) {
	a.stream.Send(recording.Event{Kind: recording.EventNote, Arm: a.rec.Name, Text: text})
}

func (a *arm) trouble(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	a.rec.Trouble = append(a.rec.Trouble, text)
	a.note(text)
}
