// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// unit is what systemd was told of one of its units. Everything exported is in the
// notes, written before systemd is told, so that whoever comes next can take it back.
type unit struct {
	Name       string               `json:"unit"`
	Cgroup     string               `json:"cgroup"`
	ID         uint64               `json:"cgroup_id"`
	Properties map[string]*property `json:"properties"`

	waited int    // looks in a row for a lease that begins
	stayed string // why it is not told what has changed
}

// property is one that was set, or is about to be.
type property struct {
	// Before is what it was, Told what systemd was asked for last.
	Before uint64 `json:"before"`
	Told   uint64 `json:"told"`
	// DropIns are the files that systemd may keep it in, as far as they were not there.
	DropIns []string `json:"drop_ins"`

	// sure says that systemd has confirmed Told: what it did not, it may do yet.
	sure bool
	// gone counts the times in a row that nobody held it; fresh says that a limit was
	// told since the last look.
	gone  int
	fresh bool
}

// damaged is why notes cannot be understood.
type damaged struct{ error }

// readNotes returns what a former mirror told systemd.
func readNotes(path string) (map[string]*unit, error) {
	units := map[string]*unit{}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return units, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*unit
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, damaged{fmt.Errorf("%s: %w", path, err)}
	}
	for _, u := range all {
		if u == nil || u.Name == "" {
			return nil, damaged{fmt.Errorf("%s: a unit without a name", path)}
		}
		for name, p := range u.Properties {
			if p == nil || !known(name) {
				return nil, damaged{fmt.Errorf("%s: a property of %s: %q", path, u.Name, name)}
			}
		}
		units[u.Name] = u
	}
	return units, nil
}

// note writes what systemd was told, or is about to be.
func (m *Mirror) note() error {
	if len(m.units) == 0 {
		err := os.Remove(m.config.Notes)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	all := make([]*unit, 0, len(m.units))
	for _, u := range m.units {
		all = append(all, u)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	next := m.config.Notes + ".next"
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, m.config.Notes)
}

// dropIns are the files that systemd may keep a setting of a unit in at runtime: of
// units that were made at runtime, beside them.
func dropIns(run, unit string, s *setting) []string {
	var files []string
	for _, dir := range []string{"system.control", "transient"} {
		files = append(files, filepath.Join(run, dir, unit+".d", "50-"+s.name+".conf"))
	}
	return files
}
