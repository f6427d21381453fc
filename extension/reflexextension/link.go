// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

// openLink makes the link that the configuration asks for; nil for none.
func openLink(r *reflex) (link, error) {
	switch r.cfg.Guard {
	case guardNone:
		return nil, nil
	case guardEmbedded:
		cfg, err := embeddedConfig(r)
		if err != nil {
			return nil, err
		}
		return embedGuard(r, cfg)
	}
	return dial(r.cfg.Guard), nil
}

// embeddedConfig is what the guard inside this process is told.
func embeddedConfig(r *reflex) (guard.Config, error) {
	network, err := r.cfg.Network.guard()
	return guard.Config{
		Root:    r.cfg.CgroupRoot,
		Protect: r.cfg.Safelist,
		Network: network,
		Logger:  slogger(r.logger.Named("guard")),
	}, err
}

// embedded is a guard inside this process: it dies with the collector, and what
// it held is given back when the next one starts.
type embedded struct {
	guard *guard.Guard
	// actuator is guard, but for tests.
	actuator arc.Actuator
	asked    *Config
	cancel   context.CancelFunc
	done     sync.WaitGroup
	acting   chan struct{} // the orders being carried out
}

// maxActing is how many orders may be carried out at once: as many as a guard holds
// leases, each of whose writes may block.
const maxActing = 8

// embedGuard starts a guard in this process. In enforce mode everything it needs
// must be there; an observing one makes do with what there is.
func embedGuard(r *reflex, cfg guard.Config) (link, error) {
	enforce := r.cfg.Mode == modeEnforce
	g, err := guard.New(cfg)
	if err != nil {
		if enforce {
			return nil, errors.Join(fmt.Errorf("start the embedded guard: %w", err), lacking(guard.Requirements()))
		}
		return absent{fmt.Errorf("the embedded guard did not start: %w", err)}, nil
	}
	needed := g.Requirements()
	if enforce && r.cfg.overNetwork() && resources(r.cfg.Policy.Enforce).Has(policy.Network) {
		needed = append(needed, networkRequirements()...)
	}
	if err := lacking(needed); err != nil && enforce {
		return nil, errors.Join(fmt.Errorf("an embedded guard cannot enforce: %w", err), g.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &embedded{guard: g, actuator: g, asked: r.cfg, cancel: cancel, acting: make(chan struct{}, maxActing)}
	e.done.Go(func() { _ = g.Run(ctx) })
	return e, nil
}

// networkRequirements is the guard's, replaced in tests.
var networkRequirements = guard.NetworkRequirements

// lacking names what is missing and its remedy, nil when nothing is.
func lacking(all []guard.Requirement) error {
	var missing []string
	for _, m := range guard.Missing(all) {
		missing = append(missing, strings.TrimRight(fmt.Sprintf("%s is missing (%s): %s", m.Name, m.Cause, m.Remedy), ": "))
	}
	if len(missing) == 0 {
		return nil
	}
	return errors.New(strings.Join(missing, "; "))
}

// Act waits no longer than ctx says: a write to a knob may block for as long as the
// kernel reclaims, and the next order is about another one.
func (e *embedded) Act(ctx context.Context, o arc.Order, out *arc.Outcome) error {
	select {
	case e.acting <- struct{}{}:
	default:
		return fmt.Errorf("%d orders are still being carried out", maxActing)
	}
	type answer struct {
		out arc.Outcome
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		a.err = e.actuator.Act(ctx, o, &a.out)
		<-e.acting
		answered <- a
	}()
	select {
	case a := <-answered:
		*out = a.out
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *embedded) Reach(context.Context) ([]guard.NetworkCount, error) {
	return e.guard.Packets(), nil
}

func (e *embedded) Missing() []need {
	all := e.guard.Requirements()
	if e.asked.overNetwork() {
		all = append(all, networkRequirements()...)
	}
	return needs(all)
}

func (e *embedded) Close() error {
	e.cancel()
	e.done.Wait()
	return e.guard.Close()
}

func needs(all []guard.Requirement) []need {
	var out []need
	for _, m := range guard.Missing(all) {
		out = append(out, need{Name: m.Name, Cause: m.Cause, Remedy: m.Remedy})
	}
	return out
}

// absent stands for a guard that could not be made.
type absent struct{ err error }

func (a absent) Act(context.Context, arc.Order, *arc.Outcome) error  { return a.err }
func (a absent) Reach(context.Context) ([]guard.NetworkCount, error) { return nil, a.err }
func (a absent) Missing() []need                                     { return needs(guard.Requirements()) }
func (a absent) Close() error                                        { return nil }
