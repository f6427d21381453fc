// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Reflex is Reflex at work: the guard under its supervisor, and the collector.
// Guard is nil where the collector embeds it.
type Reflex struct {
	Guard, Collector *Process

	settings   ReflexSettings
	collectors *Cgroup
	starts     int // of the collector
}

// ReflexSettings say how Reflex is started.
type ReflexSettings struct {
	// Base is the cgroup v2 directory it acts below, Logs receives its logs.
	Base, Logs string
	// Collector and Guard are otelcol-reflex and reflexguard; no Guard leaves the
	// guard to the collector.
	Collector, Guard string
	// GuardFlags are for the guard beside those that it cannot do without.
	GuardFlags []string
	// Socket is where the guard listens.
	Socket string
	// Config is the collector's configuration, Env its environment beside ours.
	Config string
	Env    []string
}

// StartReflex starts guard and collector in cgroups of their own and waits until
// the collector says that it is ready to act.
func StartReflex(ctx context.Context, s ReflexSettings, guards, collectors *Cgroup) (*Reflex, error) {
	r := &Reflex{settings: s, collectors: collectors}
	var err error
	if s.Guard != "" {
		argv := append([]string{
			s.Guard, "supervise",
			"--socket", s.Socket, "--cgroup-root", s.Base, "--kill-switch", filepath.Join(filepath.Dir(s.Socket), "off"),
		}, s.GuardFlags...)
		r.Guard, err = Start("reflexguard", guards, s.Logs, nil, argv...)
		if err != nil {
			return nil, err
		}
	}
	return r, r.startCollector(ctx)
}

// startCollector starts a collector, each with a log of its own, and waits until
// it is ready.
func (r *Reflex) startCollector(ctx context.Context) (err error) {
	name := "otelcol-reflex"
	if r.starts++; r.starts > 1 {
		name += fmt.Sprintf("-%d", r.starts)
	}
	s := &r.settings
	if r.Collector, err = Start(name, r.collectors, s.Logs, s.Env, s.Collector, "--config", s.Config); err != nil {
		return err
	}
	return r.await(ctx, 60*time.Second)
}

// Setenv sets a variable of the collector's environment from its next start on.
func (r *Reflex) Setenv(name, value string) {
	r.settings.Env = append(r.settings.Env, name+"="+value) // the last one counts
}

// Restart ends the collector, calls meanwhile, and starts it again, as a service
// manager does.
func (r *Reflex) Restart(ctx context.Context, meanwhile func() error) error {
	r.Collector.Stop(15 * time.Second)
	if err := meanwhile(); err != nil {
		return err
	}
	return r.startCollector(ctx)
}

// await polls the status page until Reflex can act.
func (r *Reflex) await(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last := errors.New("no answer yet")
	for {
		if p := r.Ended(); p != nil {
			return fmt.Errorf("%s ended before it was ready; see log/%s.log", p.Name, p.Name)
		}
		st, err := ReadStatus(ctx)
		if err == nil {
			if err = st.Ready(); err == nil {
				return nil
			}
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reflex was not ready to act within %v: %w", patience, last)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Ended returns a part that has ended, nil while all are at work.
func (r *Reflex) Ended() *Process {
	for _, p := range []*Process{r.Guard, r.Collector} {
		if p != nil && !p.Alive() {
			return p
		}
	}
	return nil
}

// Stop ends the collector, which closes the story it tells, and then the guard,
// which gives back what is still held. It lists what did not end when asked.
func (r *Reflex) Stop() (trouble []string) {
	for _, p := range []*Process{r.Collector, r.Guard} {
		if p != nil && !p.Stop(15*time.Second) {
			trouble = append(trouble, p.Name+" did not end within 15 s of being asked")
		}
	}
	return trouble
}
