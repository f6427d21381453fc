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
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
	"github.com/otelcol-reflex/reflex/test/stage"
)

const (
	// workSlice holds every workload; no load in it can take more tasks than this.
	workSlice = "work.slice"
	mostTasks = 6000

	// The service that answers, and how it is asked: little, because what it feels
	// is to be the fault and not itself.
	neighbourName     = "neighbour.service"
	neighbourResident = 64 << 20
	neighbourWork     = 16 << 10
	neighbourWait     = 20 * time.Millisecond
	neighbourRate     = 25
)

// play is one machine at work.
type play struct {
	*Settings
	stream *containment.Stream

	work      *stage.Cgroup
	groups    []*stage.Cgroup // beside work, to be removed at the end
	units     map[string]*unit
	neighbour *stage.Cgroup
	client    *stage.Process
	timer     *stage.Process
	reflex    *stage.Reflex
	backend   *backend
	network   *network
	journal   journal
	storage   string           // where Reflex keeps what it learned
	learned   string           // a copy, of the calm
	unready   map[string]error // scenarios that cannot be played, and why
}

// Run plays everything that s asks for and tells stream.
func Run(ctx context.Context, s Settings, stream *containment.Stream) (err error) {
	if err := s.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.logs(), 0o755); err != nil {
		return err
	}
	p := &play{Settings: &s, stream: stream, units: map[string]*unit{}}
	stream.Send(containment.Event{Kind: containment.EventStart})
	defer func() { err = errors.Join(err, p.end()) }()
	if err := p.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	p.note("learning the calm for %v", s.Learn)
	if err := stage.Pause(ctx, s.Learn); err != nil {
		return err
	}
	p.say(ctx)
	if err := p.keepLearned(ctx); err != nil {
		return fmt.Errorf("keep what was learned: %w", err)
	}
	for i := range s.Scenarios {
		if err := p.scenario(ctx, &s.Scenarios[i]); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Scenarios[i].Name, err)
		}
	}
	if s.Ticks {
		return p.ticks(ctx)
	}
	return nil
}

// prepare starts all that runs from the beginning.
func (p *play) prepare(ctx context.Context) error {
	if err := stage.Delegate(p.Base); err != nil {
		return err
	}
	var err error
	if p.network, err = startNetwork(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if p.work, err = stage.NewCgroup(p.Base, workSlice, [2]string{"pids.max", strconv.Itoa(mostTasks)}); err != nil {
		return err
	}
	if err := stage.Delegate(p.work.Dir); err != nil {
		return err
	}
	address, err := p.startNeighbour()
	if err != nil {
		return err
	}
	p.unready = map[string]error{}
	for i := range p.Scenarios {
		s := &p.Scenarios[i]
		if err := p.ready(s); err != nil {
			p.note("%s cannot be played: %v", s.Name, err)
			p.unready[s.Name] = err
		}
	}
	if p.Ticks {
		if err := p.startMovers(); err != nil {
			return err
		}
	}
	if err := p.startReflex(ctx); err != nil {
		return err
	}
	return p.startClient(address)
}

// ready starts what a scenario needs long before it begins.
func (p *play) ready(s *containment.Scenario) error {
	for _, u := range s.Units {
		if u.Fresh {
			continue
		}
		if err := p.startUnit(u); err != nil {
			return err
		}
	}
	return nil
}

// beside makes a cgroup beside the workloads and starts a process in it.
func (p *play) beside(name string, argv ...string) (*stage.Process, error) {
	c, err := stage.NewCgroup(p.Base, name)
	if err != nil {
		return nil, err
	}
	p.groups = append(p.groups, c)
	return stage.Start(strings.TrimSuffix(name, ".service"), c, p.logs(), nil, argv...)
}

func (p *play) startNeighbour() (address string, err error) {
	if p.neighbour, err = stage.NewCgroup(p.work.Dir, neighbourName); err != nil {
		return "", err
	}
	service, err := stage.Start("neighbour", p.neighbour, p.logs(), nil, p.Self, "service", "-listen", containment.InsideAddress+":0",
		"-resident", strconv.Itoa(neighbourResident), "-work", strconv.Itoa(neighbourWork), "-wait", neighbourWait.String())
	if err != nil {
		return "", err
	}
	return service.Await("ready ", time.Minute)
}

func (p *play) startClient(address string) (err error) {
	if p.timer, err = p.beside("timer.service", p.Self, "timer"); err != nil {
		return err
	}
	if _, err := p.timer.Await("ready", time.Minute); err != nil {
		return err
	}
	p.client, err = p.beside("client.service", p.elsewhere(containment.FarNamespace, "client", "-neighbour", address, "-rate", strconv.Itoa(neighbourRate),
		"-seed", strconv.FormatUint(p.Seed, 10), "-answers", filepath.Join(p.Out, AnswersFile))...)
	return err
}

// end stops everything, the client first: its answers belong to what has passed.
func (p *play) end() error {
	var errs []error
	if p.client != nil && !p.client.Stop(20*time.Second) {
		errs = append(errs, errors.New("the client did not end within 20 s of being asked: the neighbour's answers are lost"))
	}
	if p.backend != nil {
		p.backend.answer()
	}
	if p.reflex != nil {
		for _, t := range p.reflex.Stop() {
			p.note("%s", t)
		}
	}
	if p.work != nil {
		errs = append(errs, p.work.Remove())
	}
	for _, g := range p.groups {
		errs = append(errs, g.Remove())
	}
	return errors.Join(errs...)
}

func (p *play) note(format string, args ...any) {
	p.stream.Send(containment.Event{Kind: containment.EventNote, Text: fmt.Sprintf(format, args...)})
}

// say notes what Reflex thinks of the node.
func (p *play) say(ctx context.Context) {
	s, err := stage.ReadStatus(ctx)
	if err != nil {
		p.note("%v", err)
		return
	}
	p.note("level %d, %s", s.Level, s.Unusual())
}

// now is CLOCK_BOOTTIME in ns.
func now() int64 { return workload.Now() }
