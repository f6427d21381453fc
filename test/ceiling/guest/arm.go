// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/ceiling"
	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// settle is how long the client asks before the calm counts.
const settle = 3 * time.Second

// arm is one arm, being played.
type arm struct {
	*Settings
	plan   *ceiling.Arm
	stream *recording.Stream
	rec    ceiling.Recording

	seen, unseen *stage.Cgroup // by Reflex
	services     []*service
	client       *stage.Process
	reflex       *stage.Reflex
	watch        *watch
}

// service is one service, running.
type service struct {
	ceiling.Service
	group     *stage.Cgroup
	process   *stage.Process
	address   string
	onsetFile string
	calm      meter
	leak      meter
}

// prepare starts everything: the services, then Reflex, then the client.
func (a *arm) prepare(ctx context.Context) (err error) {
	for _, g := range []struct {
		into **stage.Cgroup
		name string
	}{{&a.seen, "seen"}, {&a.unseen, "unseen"}} {
		if *g.into, err = stage.NewCgroup(a.Base, g.name); err != nil {
			return err
		}
		if err := stage.Delegate((*g.into).Dir); err != nil {
			return err
		}
	}
	for _, hold := range a.plan.Holds {
		for _, leak := range a.plan.Leaks {
			if err := a.start(hold, leak); err != nil {
				return err
			}
		}
	}
	targets := []string{
		"client", "-rate", strconv.FormatFloat(a.Load.Rate, 'g', -1, 64), "-deadline", a.Load.Deadline.String(), "-queue", "0",
		"-connections", strconv.Itoa(a.Load.Connections), "-seed", strconv.FormatUint(a.Seed, 10),
		"-answers", filepath.Join(a.Out, AnswersFile(a.plan.Name)),
	}
	for _, s := range a.services {
		if s.address, err = s.process.Await("ready ", 2*time.Minute); err != nil {
			return err
		}
		targets = append(targets, "-target", s.Name+"="+s.address)
	}
	if a.plan.Buy > 0 {
		if a.reflex, err = startReflex(ctx, a); err != nil {
			return err
		}
	}
	clients, err := stage.NewCgroup(a.unseen.Dir, "client.service")
	if err != nil {
		return err
	}
	if a.client, err = stage.Start("client", clients, a.logs(a.plan.Name), nil, append([]string{a.Self}, targets...)...); err != nil {
		return err
	}
	if a.watch, err = startWatch(a.services); err != nil {
		return err
	}
	if err := stage.Pause(ctx, settle); err != nil {
		return err
	}
	for _, s := range a.services {
		s.calm = startMeter(s.group)
	}
	return nil
}

// start starts one service.
func (a *arm) start(hold, leak string) error {
	parent := a.seen
	if hold == ceiling.Wall {
		parent = a.unseen
	}
	s := &service{onsetFile: filepath.Join(a.Out, ceiling.ServiceName(hold, leak)+".onset")}
	s.Hold, s.Leak, s.Name = hold, leak, ceiling.ServiceName(hold, leak)
	var err error
	s.group, err = stage.NewCgroup(parent.Dir, s.Name+".service",
		[2]string{"memory.max", strconv.FormatUint(a.Load.Limit, 10)},
		[2]string{"memory.swap.max?", "0"}, // there is none on a kernel without swap
		[2]string{"memory.oom.group", "1"})
	if err != nil {
		return err
	}
	args := []string{
		a.Self, "service", "-resident", strconv.FormatUint(a.Load.Resident, 10), "-work", strconv.Itoa(a.Load.Work), "-wait", a.Load.Wait.String(),
		"-churn", strconv.Itoa(a.Load.Churn), "-threads", strconv.Itoa(a.Load.Connections), "-onset-file", s.onsetFile,
	}
	if leak == ceiling.Request {
		args = append(args, "-leak-request", strconv.Itoa(a.Load.LeakRequest()))
	} else {
		args = append(args, "-leak-rate", strconv.FormatUint(a.Load.LeakRate, 10))
	}
	s.process, err = stage.Start(s.Name, s.group, a.logs(a.plan.Name), nil, args...)
	a.services = append(a.services, s)
	return err
}

// play has one service after the other leak, those that Reflex is to hold first, and
// watches each for as long as the plan says.
func (a *arm) play(ctx context.Context) error {
	for i, s := range a.services {
		if i > 0 && (s.Hold != ceiling.Wall || a.services[i-1].Hold != ceiling.Wall) {
			if err := stage.Pause(ctx, a.Stagger); err != nil {
				return err
			}
		}
		if s.Hold == ceiling.Wall {
			if err := a.build(s); err != nil {
				return err
			}
		}
		if err := a.begin(ctx, s); err != nil {
			return err
		}
	}
	last := a.services[len(a.services)-1].Onset
	if err := stage.Pause(ctx, time.Duration(last+int64(a.plan.For)-workload.Now())+time.Second); err != nil {
		return err
	}
	return nil
}

// build puts the wall where the ceiling of the same leak began: as far above what was
// in use at the onset.
func (a *arm) build(s *service) error {
	s.Resident, _ = s.group.Number("memory.current")
	start := uint64(20 << 20) // as good as any
	if beside := a.find(ceiling.Ceiling, s.Leak); beside != nil {
		if _, high := a.watch.held(beside.Name); high > beside.Resident {
			start = high - beside.Resident
		} else {
			a.trouble("%s was not held when the wall beside it was built", beside.Name)
		}
	}
	return s.group.Write("memory.high", strconv.FormatUint((s.Resident+start)&^4095, 10))
}

func (a *arm) find(hold, leak string) *service {
	for _, s := range a.services {
		if s.Hold == hold && s.Leak == leak {
			return s
		}
	}
	return nil
}

// begin has s leak.
func (a *arm) begin(ctx context.Context, s *service) error {
	a.note("%s begins to leak", s.Name)
	s.Resident, _ = s.group.Number("memory.current")
	s.CPUCalm, _ = s.calm.stop(workload.Now())
	s.leak = startMeter(s.group)
	if _, err := fmt.Fprintf(s.process.Stdin, "leak %d\n", workload.Now()); err != nil {
		return fmt.Errorf("order the leak: %w", err)
	}
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		var wall int64
		b, err := os.ReadFile(s.onsetFile)
		if err == nil {
			if _, err = fmt.Sscan(string(b), &s.Onset, &wall); err == nil {
				return os.Remove(s.onsetFile)
			}
		}
		if err := stage.Pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the leak never began")
}

// finish takes the last measurements and ends everything, the client after the
// services that it waits for.
func (a *arm) finish(ctx context.Context) {
	for _, s := range a.services {
		until := workload.Now()
		if !s.process.Alive() {
			until, s.Died = s.process.EndedAt, s.process.EndedAt
			if s.process.Signal != unix.SIGKILL {
				a.trouble("%s ended by itself, not by SIGKILL", s.Name)
			}
		}
		s.CPULeak, s.Full = s.leak.stop(until)
	}
	if a.reflex != nil {
		a.hear(ctx)
		if p := a.reflex.Ended(); p != nil {
			a.trouble("%s ended during the arm; see its log", p.Name)
		}
	}
	a.watch.stop(a)
	for _, s := range a.services {
		if err := s.group.Remove(); err != nil {
			a.trouble("%v", err)
		}
	}
	if !a.client.Stop(20 * time.Second) {
		a.trouble("the client did not end within 20 s of being asked: its answers are lost")
	}
	if a.reflex != nil {
		for _, t := range a.reflex.Stop() {
			a.trouble("%s", t)
		}
	}
	for _, s := range a.services {
		a.rec.Services = append(a.rec.Services, s.Service)
	}
}

// cleanUp ends what still runs and removes the arm's cgroups.
func (a *arm) cleanUp() error {
	if a.reflex != nil {
		a.reflex.Stop()
	}
	var errs []error
	for _, g := range []*stage.Cgroup{a.seen, a.unseen} {
		if g != nil {
			errs = append(errs, g.Remove())
		}
	}
	return errors.Join(errs...)
}

func (a *arm) note(format string, args ...any) {
	a.stream.Send(recording.Event{Kind: recording.EventNote, Arm: a.plan.Name, Text: fmt.Sprintf(format, args...)})
}

func (a *arm) trouble(format string, args ...any) {
	a.rec.Trouble = append(a.rec.Trouble, fmt.Sprintf(format, args...))
	a.note(format, args...)
}
