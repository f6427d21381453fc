// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// unit is a workload of a scenario, running.
type unit struct {
	containment.Unit
	group   *stage.Cgroup
	process *stage.Process
	id      uint64 // of the cgroup
}

// startUnit makes the unit's cgroup and starts its process, which then waits.
func (p *play) startUnit(u containment.Unit) error {
	if u.Elsewhere {
		return p.runUnit(u, &stage.Cgroup{Dir: p.Base}, p.elsewhere(containment.OutsideNamespace, u.Role...))
	}
	group, err := stage.NewCgroup(p.work.Dir, u.Name, u.Limits...)
	if err != nil {
		return err
	}
	return p.runUnit(u, group, append([]string{p.Self}, u.Role...))
}

func (p *play) runUnit(u containment.Unit, group *stage.Cgroup, argv []string) error {
	id, err := cgroupID(group.Dir)
	if err != nil {
		return err
	}
	process, err := stage.Start(strings.TrimSuffix(u.Name, ".service"), group, p.logs(), nil, argv...)
	if err != nil {
		return err
	}
	p.units[u.Name] = &unit{Unit: u, group: group, process: process, id: id}
	_, err = process.Await("ready", 2*time.Minute)
	return err
}

// begin has the unit begin and returns the onset.
func (u *unit) begin() (onset int64, err error) {
	if u.Serves {
		return 0, nil
	}
	if _, err := fmt.Fprintln(u.process.Stdin, "begin"); err != nil {
		return 0, fmt.Errorf("tell %s to begin: %w", u.Name, err)
	}
	text, err := u.process.Await("onset ", 30*time.Second)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// endUnit ends the unit and removes its cgroup.
func (p *play) endUnit(name string) error {
	u := p.units[name]
	if u == nil {
		return nil
	}
	delete(p.units, name)
	if u.Elsewhere { // its cgroup is everybody's
		u.process.Stop(5 * time.Second)
		return nil
	}
	err := u.group.Remove()
	if err == nil {
		<-u.process.Ended
	}
	return err
}

// endUnits ends what is left of a scenario.
func (p *play) endUnits(s *containment.Scenario) error {
	var errs []error
	for _, u := range s.Units {
		errs = append(errs, p.endUnit(u.Name))
	}
	return errors.Join(errs...)
}

// cgroupID is the kernel's id of a cgroup: on 64-bit machines its inode's number.
func cgroupID(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("find the id of %s: %w", dir, err)
	}
	return st.Ino, nil
}
