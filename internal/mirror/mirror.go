// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	godbus "github.com/godbus/dbus/v5"

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

// begin makes sure that a property of the unit whose cgroup it is stands for a lease's
// knob, and for nothing else.
func (m *Mirror) begin(ctx context.Context, l *guard.Lease, name string, held []guard.Lease) error {
	unitName := path.Base(l.Path)
	if suffix := path.Ext(unitName); suffix != ".service" && suffix != ".scope" {
		return finally("%s is no service or scope", unitName)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	properties, err := m.config.Manager.Properties(ctx, unitName)
	if err != nil {
		return err
	}
	if of, _ := properties["ControlGroup"].(string); of != l.Path {
		return finally("it is not the cgroup of %s, which has %q", unitName, of)
	}
	if state := properties["LoadState"]; state != loaded {
		return finally("%s is not loaded but %v: systemd takes no settings for it", unitName, state)
	}
	before, ok := properties[name].(uint64)
	if !ok {
		return finally("this systemd has no property %s", name)
	}
	s := settingOf(name)
	if original, known := originalOf(l); !known || s.shown(before) != original {
		return fmt.Errorf("%s of %s is %d, and the cgroup had %d: somebody else wrote it", name, unitName, before, original)
	}
	if err := m.agrees(l.Cgroup, l.Path, properties, held); err != nil {
		return err
	}
	if err := whole(filepath.Join(m.config.Root, l.Path), l); err != nil {
		return err
	}
	if err := m.prevails(unitName, &s, properties); err != nil {
		return err
	}
	p := &property{Before: before, Told: before, sure: true}
	for _, file := range dropIns(m.config.Run, unitName, &s) {
		if _, err := os.Lstat(file); errors.Is(err, os.ErrNotExist) {
			p.DropIns = append(p.DropIns, file)
		}
	}
	u := m.units[unitName]
	switch {
	case u == nil:
		u = &unit{Name: unitName, Cgroup: l.Path, ID: l.Cgroup, Properties: map[string]*property{}}
		m.units[unitName] = u
	case u.ID != l.Cgroup:
		return fmt.Errorf("%s had another cgroup a moment ago", unitName) // until that is taken back
	}
	u.Properties[name] = p
	if err := m.note(); err != nil {
		m.forget(u, name)
		return err
	}
	return nil
}

// prevails says whether what a unit is told at runtime is what systemd finds when it is
// reloaded: drop-ins are read by the order of their names, whatever directory they are
// in, and of one name the one that lasts is.
func (m *Mirror) prevails(unit string, s *setting, properties map[string]any) error {
	name := "50-" + s.name + ".conf"
	lasting := filepath.Join(m.config.Etc, "system.control", unit+".d", name)
	if _, err := os.Lstat(lasting); err == nil {
		return finally("%s comes before what is told at runtime", lasting)
	}
	files, _ := properties["DropInPaths"].([]string)
	for _, file := range files {
		if filepath.Base(file) <= name {
			continue
		}
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // systemd goes on listing what was removed, until it is reloaded
		}
		if err != nil || regexp.MustCompile(`(?m)^[ \t]*`+s.name+`[ \t]*=`).Match(text) {
			return finally("%s is read after what is told at runtime", file)
		}
	}
	return nil
}

// agrees says whether a cgroup has what its unit's properties say, but for what is
// held: told of one, systemd writes all of them, and takes back what it was not told of.
func (m *Mirror) agrees(id uint64, cgroup string, properties map[string]any, held []guard.Lease) error {
	ours := map[string]bool{}
	for i := range held {
		other := &held[i]
		if other.Cgroup != id || other.Observed || mirrored[other.Knob] == "" {
			continue
		}
		ours[mirrored[other.Knob]] = true
		if a := m.apart[leaseOf(other)]; a.over() {
			return fmt.Errorf("systemd would take %s back: %w", other.Knob, a.cause)
		}
	}
	for _, u := range m.units {
		if u.ID != id {
			continue
		}
		for name := range u.Properties { // held a moment ago
			ours[name] = true
		}
	}
	dir := filepath.Join(m.config.Root, cgroup)
	if err := besides(dir, properties); err != nil {
		return err
	}
	for i := range settings {
		s := &settings[i]
		v, has := properties[s.property].(uint64)
		if !has || ours[s.property] {
			continue
		}
		current, known, err := s.inForce(dir)
		if err != nil {
			return err
		}
		if known && current != s.shown(v) {
			return fmt.Errorf("%s is %d and %s is %d: somebody else writes there as well", s.property, v, s.file, current)
		}
	}
	return nil
}

// tell has systemd know the values of a unit. It reports whether a limit was among what
// changed.
func (m *Mirror) tell(ctx context.Context, u *unit, wanted map[string]uint64, held []guard.Lease) (limited bool, err error) {
	values := map[string]uint64{}
	for name, p := range u.Properties {
		v, is := wanted[name]
		switch {
		case is:
			p.gone, p.fresh = 0, false
		case p.fresh, !p.sure, p.gone+1 >= patience:
			v = p.Before
		default:
			p.gone++
			v = p.Told
		}
		if v != p.Told || !p.sure {
			values[name] = v
		}
	}
	if len(values) == 0 {
		return false, m.endIfOver(u, wanted)
	}
	if u.waited++; m.begins(u, held) && (u.limits(values) || u.waited <= waits) {
		return false, nil
	}
	u.waited = 0
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	properties, err := m.config.Manager.Properties(ctx, u.Name)
	if err != nil {
		return false, err // tried again, with the next look
	}
	if properties["LoadState"] != loaded {
		return false, m.end(u) // it took its settings along, or finds none when it is loaded
	}
	u.yield(properties, values)
	if moved, err := m.moved(ctx, u, held); err != nil || moved {
		return false, err
	}
	// What is over is told by itself: systemd takes all that it is told at once, or nothing.
	back := maps.Clone(values)
	maps.DeleteFunc(back, func(name string, v uint64) bool { return v != u.Properties[name].Before })
	if err := m.set(ctx, u, back, nil); err != nil {
		return false, err
	}
	maps.DeleteFunc(values, func(name string, _ uint64) bool { _, is := back[name]; return is })
	if len(values) > 0 {
		if err := m.agrees(u.ID, u.Cgroup, properties, held); err != nil {
			m.stays(u, err)
			return false, nil
		}
		if err := m.set(ctx, u, values, held); err != nil {
			return true, err
		}
		u.stayed = ""
	}
	return len(values) > 0, m.endIfOver(u, wanted)
}

// limits says whether some of the values are no end of a limit.
func (u *unit) limits(values map[string]uint64) bool {
	for name, v := range values {
		if v != u.Properties[name].Before {
			return true
		}
	}
	return false
}

// stays notes that systemd goes on with what it was told, since somebody else writes to
// the unit as well.
func (m *Mirror) stays(u *unit, cause error) {
	if u.stayed != cause.Error() {
		m.config.Logger.Info("systemd is not told what has changed", "unit", u.Name, "cause", cause)
	}
	u.stayed = cause.Error()
}

// begins says whether something is held on a unit that systemd has not been told of yet,
// but will be: told of anything else before, it would take that back.
func (m *Mirror) begins(u *unit, held []guard.Lease) bool {
	for i := range held {
		l := &held[i]
		name, known := mirrored[l.Knob]
		if known && l.Cgroup == u.ID && !l.Observed && u.Properties[name] == nil && !m.apart[leaseOf(l)].over() {
			return true
		}
	}
	return false
}

// yield leaves properties that somebody else has set meanwhile to them, and the files
// that systemd keeps them in. One that has what was told is not theirs, as where they had
// theirs kept for good.
func (u *unit) yield(properties map[string]any, values map[string]uint64) {
	for name, p := range u.Properties {
		if v, is := properties[name].(uint64); is && p.sure && v != p.Told && v != p.Before {
			s := settingOf(name)
			for _, file := range p.DropIns {
				if text, err := os.ReadFile(file); err == nil && s.says(text, p.Told) {
					_ = os.Remove(file)
					_ = os.Remove(filepath.Dir(file)) // which may hold others
				}
			}
			delete(u.Properties, name)
			delete(values, name)
		}
	}
}

// moved reports whether other knobs of a unit are held than a moment ago.
func (m *Mirror) moved(ctx context.Context, u *unit, held []guard.Lease) (bool, error) {
	if held == nil {
		return false, nil // everything is taken back
	}
	now, err := m.config.Leases(ctx)
	if err != nil {
		return false, err
	}
	knobs := func(all []guard.Lease) map[lease]bool {
		of := map[lease]bool{}
		for i := range all {
			if l := &all[i]; l.Cgroup == u.ID && !l.Observed {
				of[leaseOf(l)] = true
			}
		}
		return of
	}
	return !maps.Equal(knobs(held), knobs(now)), nil
}

// set sets some properties, in the notes first. What systemd does not confirm it may
// have done, and is set again; what it refuses it has not, and is not told again. held is
// nil where all of them go back to what they were: that is done whether it can be noted or
// not, since the notes know it already.
func (m *Mirror) set(ctx context.Context, u *unit, values map[string]uint64, held []guard.Lease) error {
	if len(values) == 0 {
		return nil
	}
	for name, v := range values {
		p := u.Properties[name]
		p.fresh = v != p.Before
		p.Told, p.sure = v, false
	}
	if err := m.note(); err != nil {
		if held != nil {
			return err
		}
		m.config.Logger.Warn("mirror", "error", err)
	}
	err := m.config.Manager.Set(ctx, u.Name, values)
	if held != nil && errors.As(err, new(godbus.Error)) {
		for i := range held {
			l := &held[i]
			if _, told := values[mirrored[l.Knob]]; told && l.Cgroup == u.ID {
				m.leave(l, finally("systemd refuses it: %v", err))
				m.forget(u, mirrored[l.Knob])
			}
		}
		return m.note()
	}
	if err != nil {
		return err
	}
	for name, v := range values {
		u.Properties[name].sure = true
		m.config.Logger.Info("systemd was told", "unit", u.Name, "property", name, "value", v, "before", u.Properties[name].Before)
	}
	return nil
}

// endIfOver ends a unit of which nothing is held and everything was taken back.
func (m *Mirror) endIfOver(u *unit, wanted map[string]uint64) error {
	for name, p := range u.Properties {
		if _, held := wanted[name]; held || !p.sure || p.Told != p.Before {
			return nil
		}
	}
	return m.end(u)
}

// end forgets a unit, and has systemd forget what it was told: the next time that it is
// reloaded, it finds the unit as it was.
func (m *Mirror) end(u *unit) error {
	var errs []error
	for _, p := range u.Properties {
		for _, file := range p.DropIns {
			if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
				continue
			}
			_ = os.Remove(filepath.Dir(file)) // which may hold others
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("forget what %s was told: %w", u.Name, err)
	}
	delete(m.units, u.Name)
	return m.note()
}

// forget takes a property back that systemd was not told of.
func (m *Mirror) forget(u *unit, name string) {
	delete(u.Properties, name)
	if len(u.Properties) == 0 {
		delete(m.units, u.Name)
	}
}
