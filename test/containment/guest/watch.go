// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/stage"
)

const (
	// The knobs of the guilty are read this often, those of everybody else every
	// innocentTurns-th time.
	watchPeriod   = 5 * time.Millisecond
	innocentTurns = 40
)

// change is a knob that no longer holds what it held.
type change struct {
	cgroup, knob  string
	before, after string
	at            int64 // CLOCK_BOOTTIME, ns
}

func (c change) String() string {
	return fmt.Sprintf("%s %s %s → %s", c.cgroup, c.knob, containment.Brief(c.before), containment.Brief(c.after))
}

// knob is one open file and what it held last.
type knob struct {
	cgroup, name string
	fd           int
	last         string
}

// watch follows knobs from outside: what it knows, it has read.
type watch struct {
	mu       sync.Mutex
	tight    []change // of the guilty: the first time each knob became tighter
	touched  []change // of anybody else: every change
	guilty   []knob
	innocent []knob
	end      func()
}

// openKnobs opens the first n of [containment.Knobs] of a cgroup, as far as they
// exist.
func openKnobs(c *stage.Cgroup, n int) ([]knob, error) {
	var knobs []knob
	for _, name := range containment.Knobs[:n] {
		fd, err := unix.Open(filepath.Join(c.Dir, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return knobs, fmt.Errorf("watch %s of %s: %w", name, c.Dir, err)
		}
		k := knob{cgroup: filepath.Base(c.Dir), name: name, fd: fd}
		k.last, _ = k.read(make([]byte, 1024))
		knobs = append(knobs, k)
	}
	return knobs, nil
}

// read returns what the knob holds; ok is false once its cgroup is gone.
func (k *knob) read(buf []byte) (text string, ok bool) {
	n, err := unix.Pread(k.fd, buf, 0)
	if err != nil {
		return "", false
	}
	if string(buf[:n]) == k.last { // no copy of what is known
		return k.last, true
	}
	return string(buf[:n]), true
}

// startWatch watches the guilty and the innocent.
func startWatch(guilty, innocent []*stage.Cgroup) (*watch, error) {
	w := &watch{}
	for _, part := range []struct {
		into   *[]knob
		groups []*stage.Cgroup
	}{{&w.guilty, guilty}, {&w.innocent, innocent}} {
		for _, g := range part.groups {
			knobs, err := openKnobs(g, containment.Turnable)
			*part.into = append(*part.into, knobs...)
			if err != nil {
				w.close()
				return nil, err
			}
		}
	}
	buf := make([]byte, 4096)
	w.end = stage.Poll(watchPeriod, func(turn int) {
		w.look(w.guilty, buf, &w.tight, true)
		if turn%innocentTurns == 0 {
			w.look(w.innocent, buf, &w.touched, false)
		}
	})
	return w, nil
}

// look compares knobs with what they held. Only tells of what became tighter than
// it was at first.
func (w *watch) look(knobs []knob, buf []byte, into *[]change, only bool) {
	for i := range knobs {
		k := &knobs[i]
		text, ok := k.read(buf)
		if !ok || text == k.last || only && !containment.Tighter(k.name, k.last, text) {
			continue
		}
		w.mu.Lock()
		*into = append(*into, change{k.cgroup, k.name, k.last, text, now()})
		w.mu.Unlock()
		if only {
			// Told once: what follows is the same lease, moving.
			_ = unix.Close(k.fd)
			k.fd = -1
		} else {
			k.last = text
		}
	}
}

// changes returns what was seen so far.
func (w *watch) changes() (tight, touched []change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]change(nil), w.tight...), append([]change(nil), w.touched...)
}

func (w *watch) stop() {
	w.end()
	w.close()
}

func (w *watch) close() {
	for _, knobs := range [][]knob{w.guilty, w.innocent} {
		for i := range knobs {
			if knobs[i].fd >= 0 {
				_ = unix.Close(knobs[i].fd)
			}
		}
	}
}

// snapshot is every limit file of some cgroups, and their extended attributes.
type snapshot map[string]map[string]string

func takeSnapshot(groups []*stage.Cgroup) snapshot {
	s := snapshot{}
	for _, g := range groups {
		files := map[string]string{}
		for _, name := range containment.Knobs {
			if text, err := os.ReadFile(filepath.Join(g.Dir, name)); err == nil {
				files[name] = string(text)
			}
		}
		attributes := make([]byte, 4096)
		if n, err := unix.Listxattr(g.Dir, attributes); err == nil {
			files["attributes"] = strings.ReplaceAll(string(attributes[:n]), "\x00", " ")
		}
		s[filepath.Base(g.Dir)] = files
	}
	return s
}

// differences lists what is different in after; a cgroup that is gone is not.
func (s snapshot) differences(after snapshot) (changed []string) {
	for _, name := range sorted(s) {
		now, there := after[name]
		if !there {
			continue
		}
		for _, file := range sorted(s[name]) {
			if was := s[name][file]; was != now[file] {
				changed = append(changed, change{cgroup: name, knob: file, before: was, after: now[file]}.String())
			}
		}
	}
	return changed
}
