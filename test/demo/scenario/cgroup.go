// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

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

// cgroup is one cgroup the scenario made.
type cgroup struct{ dir string }

// newCgroup makes parent/name and writes settings to its files. A setting whose
// file this kernel does not have is left out when its name ends in "?".
func newCgroup(parent, name string, settings ...[2]string) (*cgroup, error) {
	c := &cgroup{filepath.Join(parent, name)}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	for _, s := range settings {
		file, optional := strings.CutSuffix(s[0], "?")
		err := c.write(file, s[1])
		if err != nil && (!optional || !errors.Is(err, os.ErrNotExist)) {
			return nil, errors.Join(err, c.remove())
		}
	}
	return c, nil
}

func (c *cgroup) write(file, value string) error {
	path := filepath.Join(c.dir, file)
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

// number reads a knob that holds one number or "max".
func (c *cgroup) number(file string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, file))
	if err != nil {
		return 0, err
	}
	return parseNumber(b)
}

// event reads one line of memory.events.
func (c *cgroup) event(name string) (uint64, error) { return c.line("memory.events", name) }

// line reads one line of a file of names and numbers.
func (c *cgroup) line(file, name string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && key == name {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s of %s has no %s", file, c.dir, name)
}

// remove kills what is left in the cgroup and removes it.
func (c *cgroup) remove() error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		if err := c.write("cgroup.kill", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		err := removeTree(c.dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", c.dir, err)
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

// parseNumber parses a knob's content.
func parseNumber(b []byte) (uint64, error) {
	s := strings.TrimSpace(string(b))
	if s == "max" {
		return recording.Unlimited, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	return min(v, recording.Unlimited), err
}

// delegate lets children of dir have the controllers the scenario needs.
func delegate(dir string) error {
	c := cgroup{dir}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	have := strings.Fields(string(b))
	for _, name := range []string{"memory", "cpu", "io", "pids"} {
		err := errors.ErrUnsupported
		for _, h := range have {
			if h == name {
				err = c.write("cgroup.subtree_control", "+"+name)
			}
		}
		if err != nil && name == "memory" {
			return fmt.Errorf("delegate the memory controller below %s: %w", dir, err)
		}
	}
	return nil
}
