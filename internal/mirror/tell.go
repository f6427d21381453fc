// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	godbus "github.com/godbus/dbus/v5"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

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
	former := map[string]property{}
	for name, v := range values {
		p := u.Properties[name]
		former[name] = *p
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
		return m.refused(u, former, held, err)
	}
	if err != nil {
		return err
	}
	if held != nil {
		u.stayed = ""
	}
	for name, v := range values {
		u.Properties[name].sure = true
		m.config.Logger.Info("systemd was told", "unit", u.Name, "property", name, "value", v, "before", u.Properties[name].Before)
	}
	return nil
}

// refused puts properties back to what they were before systemd refused to set them. It
// is told no more of a lease that it was not told of before; of another it goes on with what
// it was told, which is still to be taken back.
func (m *Mirror) refused(u *unit, former map[string]property, held []guard.Lease, cause error) error {
	for name := range former {
		p := former[name]
		*u.Properties[name] = p
	}
	for i := range held {
		l := &held[i]
		p, asked := former[mirrored[l.Knob]]
		switch {
		case !asked || l.Cgroup != u.ID || l.Observed:
		case p.sure && p.Told == p.Before:
			m.leave(l, finally("systemd refuses it: %v", cause))
			m.forget(u, mirrored[l.Knob])
		default:
			m.stays(u, fmt.Errorf("systemd refuses it: %w", cause))
		}
	}
	return m.note()
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
