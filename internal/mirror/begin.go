// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

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
