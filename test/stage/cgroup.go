// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// Cgroup is one cgroup that a test made, by its directory.
type Cgroup struct{ Dir string }

// NewCgroup makes parent/name and writes settings to its files. A setting whose
// file this kernel does not have is left out when its name ends in "?".
func NewCgroup(parent, name string, settings ...[2]string) (*Cgroup, error) {
	c := &Cgroup{filepath.Join(parent, name)}
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	for _, s := range settings {
		file, optional := strings.CutSuffix(s[0], "?")
		err := c.Write(file, s[1])
		if err != nil && (!optional || !errors.Is(err, os.ErrNotExist)) {
			return nil, errors.Join(err, c.Remove())
		}
	}
	return c, nil
}

// Write writes value to file, which must exist.
func (c *Cgroup) Write(file, value string) error {
	path := filepath.Join(c.Dir, file)
	// No O_CREATE: an unknown knob must fail, not become a file.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("write %q: %w", value, err)
	}
	return nil
}

// Number reads a knob that holds one number or "max".
func (c *Cgroup) Number(file string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(c.Dir, file))
	if err != nil {
		return 0, err
	}
	return ParseNumber(b)
}

// Event reads one line of memory.events.
func (c *Cgroup) Event(name string) (uint64, error) { return c.Line("memory.events", name) }

// Line reads one line of a file of names and numbers.
func (c *Cgroup) Line(file, name string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(c.Dir, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && key == name {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s of %s has no %s", file, c.Dir, name)
}

// Remove kills what is left in the cgroup and removes it.
func (c *Cgroup) Remove() error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		if err := c.Write("cgroup.kill", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		err := removeTree(c.Dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", c.Dir, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeTree removes a cgroup and those below it, which a supervisor may have
// made for its own.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}

// ParseNumber parses a knob's content.
func ParseNumber(b []byte) (uint64, error) {
	s := strings.TrimSpace(string(b))
	if s == "max" {
		return recording.Unlimited, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	return min(v, recording.Unlimited), err
}

// Delegate lets children of dir have the controllers that tests need.
func Delegate(dir string) error {
	c := Cgroup{dir}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	have := strings.Fields(string(b))
	for _, name := range []string{"memory", "cpu", "io", "pids"} {
		err := errors.ErrUnsupported
		for _, h := range have {
			if h == name {
				err = c.Write("cgroup.subtree_control", "+"+name)
			}
		}
		if err != nil && name == "memory" {
			return fmt.Errorf("delegate the memory controller below %s: %w", dir, err)
		}
	}
	return nil
}
