// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

const (
	// Every is how often the guard is asked.
	Every = 500 * time.Millisecond
	// patience is how often in a row a lease has to be missing before systemd is told
	// that it is over. A guard that was killed has given back what it held when the
	// next one answers, and its collector may want it again a moment later.
	patience = 2
	// unheard is how often in a row the guard may not answer until everything is taken
	// back: it needs less to be started again.
	unheard = 4
	// within bounds every call to systemd.
	within = 5 * time.Second
	// undoWithin is for how long everything is tried to be taken back at the end.
	undoWithin = 20 * time.Second
	// waits is how many looks a limit that is over waits for one that begins, which
	// would be taken back with it.
	waits = 2
)

// Config says what to mirror to whom. Everything is required.
type Config struct {
	// Leases asks the guard what it holds.
	Leases  func(context.Context) ([]guard.Lease, error)
	Manager Manager
	// Root is the directory of the cgroup that systemd calls "/".
	Root string
	// Notes is the file that remembers what systemd was told.
	Notes string
	// Run and Etc are the directories of systemd's settings that last until the next
	// boot, and for good: /run/systemd and /etc/systemd.
	Run, Etc string
	Logger   *slog.Logger
}

// Mirror tells a manager what a guard holds. It is not safe for concurrent use.
type Mirror struct {
	config Config
	units  map[string]*unit // by name
	apart  map[lease]*apart
	// seen are the leases of the last look: systemd is told of those only. It writes all
	// of a unit's settings, and one lease seldom comes alone.
	seen   map[lease]bool
	silent int // times in a row that the guard did not answer
}

// apart is a lease that systemd is not told of.
type apart struct {
	cause error // as it was said
	times int   // in a row that it was tried
}

// loaded is the LoadState of a unit that systemd takes settings for.
const loaded = "loaded"

// tries is how often a lease is tried: what is in the way may pass, as a sibling that is
// being taken back.
const tries = 5

func (a *apart) over() bool {
	return a != nil && (a.times >= tries || errors.As(a.cause, new(final)))
}

// final is a cause that will not go away.
type final string

func (f final) Error() string { return string(f) }

func finally(format string, args ...any) error { return final(fmt.Sprintf(format, args...)) }

// lease tells one lease from others. A new one that takes a former one's place within a
// look is taken for it: of one that is being written, nothing else is known.
type lease struct {
	cgroup uint64
	knob   string
}

func leaseOf(l *guard.Lease) lease { return lease{l.Cgroup, l.Knob} }

// New returns a mirror that knows what a former one has told. Notes that cannot be
// understood are set aside.
func New(config Config) (*Mirror, error) {
	units, err := readNotes(config.Notes)
	if errors.As(err, new(damaged)) {
		aside := config.Notes + ".damaged"
		config.Logger.Error("what a former mirror told systemd is not known: look for 50-*.conf in "+filepath.Join(config.Run, "system.control"),
			"cause", err, "kept", aside)
		units, err = map[string]*unit{}, os.Rename(config.Notes, aside)
	}
	if err != nil {
		return nil, fmt.Errorf("what a former mirror told systemd: %w", err)
	}
	return &Mirror{config: config, units: units, apart: map[lease]*apart{}}, nil
}

// Run mirrors until ctx is done, and takes everything back then.
func (m *Mirror) Run(ctx context.Context) error {
	next := time.NewTicker(Every)
	defer next.Stop()
	said := "" // the last error
	for {
		err := m.Round(ctx)
		if text := fmt.Sprint(err); err != nil && text != said && ctx.Err() == nil {
			m.config.Logger.Warn("mirror", "error", err)
			said = text
		} else if err == nil {
			said = ""
		}
		select {
		case <-ctx.Done():
			return m.undo(context.WithoutCancel(ctx))
		case <-next.C:
		}
	}
}

// Round asks the guard once what it holds and tells systemd what has changed. Having
// told it of a limit, it asks again at once: the lease may have ended meanwhile.
func (m *Mirror) Round(ctx context.Context) error {
	for range 2 {
		held, err := m.config.Leases(ctx)
		if err != nil {
			if m.silent++; m.silent < unheard {
				return nil // it is being started again, or was never there
			}
			if m.silent == unheard {
				m.config.Logger.Info("the guard does not answer: nothing is held", "cause", err)
			}
			return m.Undo(ctx)
		}
		m.silent = 0
		told, err := m.reconcile(ctx, held)
		if err != nil || !told {
			return err
		}
	}
	return nil
}

// undo takes everything back at the end: nobody tries again after it.
func (m *Mirror) undo(ctx context.Context) error {
	next := time.NewTicker(Every)
	defer next.Stop()
	for until := time.Now().Add(undoWithin); ; <-next.C {
		if err := m.Undo(ctx); err == nil || time.Now().After(until) {
			return err
		}
	}
}

// Undo takes back everything that systemd was told.
func (m *Mirror) Undo(ctx context.Context) error {
	for _, u := range m.units {
		for _, p := range u.Properties {
			p.gone = patience
		}
	}
	_, err := m.reconcile(ctx, nil)
	return err
}

// reconcile has systemd know what is held, and nothing else. It reports whether it told
// systemd of a limit.
func (m *Mirror) reconcile(ctx context.Context, held []guard.Lease) (told bool, err error) {
	wanted := m.wanted(ctx, held)
	for name, u := range m.units {
		limited, tellErr := m.tell(ctx, u, wanted[name], held)
		told = told || limited
		err = errors.Join(err, tellErr)
	}
	return told, err
}

// wanted returns what each unit's properties are to be by the leases held, and begins
// those that are new.
func (m *Mirror) wanted(ctx context.Context, held []guard.Lease) map[string]map[string]uint64 {
	wanted := map[string]map[string]uint64{}
	before, seen := m.seen, map[lease]bool{}
	m.seen = seen
	for i := range held {
		l := &held[i]
		name, known := mirrored[l.Knob]
		if !known || l.Observed {
			continue
		}
		key := leaseOf(l)
		seen[key] = true
		u := m.unitOf(l)
		if u == nil || u.Properties[name] == nil {
			if l.Busy || !before[key] || m.apart[key].over() {
				continue
			}
			if err := m.begin(ctx, l, name, held); err != nil {
				m.leave(l, err)
				continue
			}
			delete(m.apart, key)
			u = m.unitOf(l)
		}
		if wanted[u.Name] == nil {
			wanted[u.Name] = map[string]uint64{}
		}
		switch before, twice := wanted[u.Name][name]; {
		case twice && before == idle:
		case l.Busy: // what is held is not known, only that something is
			wanted[u.Name][name] = u.Properties[name].Told
		default:
			wanted[u.Name][name] = valueOf(l)
		}
	}
	for l, a := range m.apart {
		if !seen[l] {
			delete(m.apart, l)
			continue
		}
		for name, u := range m.units {
			if a.over() && u.ID == l.cgroup && u.untold() { // it would be taken back
				delete(wanted, name)
				if err := m.end(u); err != nil {
					m.config.Logger.Warn("mirror", "error", err)
				}
			}
		}
	}
	return wanted
}

// untold says that systemd was told nothing of a unit yet.
func (u *unit) untold() bool {
	for _, p := range u.Properties {
		if !p.sure || p.Told != p.Before {
			return false
		}
	}
	return true
}

// leave notes that systemd is not told of a lease.
func (m *Mirror) leave(l *guard.Lease, cause error) {
	a := m.apart[leaseOf(l)]
	if a == nil {
		a = &apart{}
		m.apart[leaseOf(l)] = a
	}
	if a.cause == nil || a.cause.Error() != cause.Error() {
		m.config.Logger.Info("systemd is not told of a lease", "cgroup", l.Path, "knob", l.Knob, "cause", cause)
	}
	a.cause, a.times = cause, a.times+1
}

// unitOf returns the unit of a lease that systemd was told of, nil for none.
func (m *Mirror) unitOf(l *guard.Lease) *unit {
	for _, u := range m.units {
		if u.ID == l.Cgroup {
			return u
		}
	}
	return nil
}
